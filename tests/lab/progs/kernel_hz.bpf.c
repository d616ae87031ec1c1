// SPDX-License-Identifier: GPL-2.0-or-later
/* A device that answers with what libbpf finds out of the host's kernel: CONFIG_HZ. */
#include <kvmbpf.bpf.h>

KVMBPF_DEVICE(kernel_hz, .compatible = "kvmbpf,kernel_hz", .regions = { KVMBPF_MMIO(0x1000) });

extern unsigned CONFIG_HZ __kconfig;

KVMBPF_READ(struct kvmbpf_access *acc)
{
	acc->value = CONFIG_HZ;
	return 0;
}

KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	return acc->len ? 0 : KVMBPF_DECLINE;
}
