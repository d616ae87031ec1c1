// SPDX-License-Identifier: GPL-2.0-or-later
/* The talking device, a version that says nothing. */
#include <kvmbpf.bpf.h>

KVMBPF_DEVICE(talking, .compatible = "kvmbpf,talking", .regions = { KVMBPF_MMIO(0x1000) });

__u64 calls;

KVMBPF_READ(struct kvmbpf_access *acc)
{
	calls++;
	return KVMBPF_ANSWERED;
}

KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	return KVMBPF_ANSWERED;
}
