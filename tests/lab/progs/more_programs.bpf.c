// SPDX-License-Identifier: GPL-2.0-or-later
/* Beside a device, programs that nothing enters, one of which no kernel loads. */
#include <kvmbpf.bpf.h>

KVMBPF_DEVICE(more_programs, .compatible = "kvmbpf,more_programs",
	      .regions = { KVMBPF_MMIO(0x1000) });

__u64 count;

KVMBPF_READ(struct kvmbpf_access *acc)
{
	acc->value = count++;
	return 0;
}

KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	return acc->len ? 0 : KVMBPF_DECLINE;
}

SEC("fentry/kvmbpf_no_such_function")
int watch_it(void *context)
{
	return !context;
}

SEC("xdp")
int drop_it(struct xdp_md *context)
{
	return !!context;
}
