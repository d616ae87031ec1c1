// SPDX-License-Identifier: GPL-2.0-or-later
/* A whole device whose program the verifier refuses: it reads past its table. */
#include <kvmbpf.bpf.h>

KVMBPF_DEVICE(refused, .compatible = "kvmbpf,refused", .regions = { KVMBPF_MMIO(0x1000) });

__u64 table[4];

KVMBPF_READ(struct kvmbpf_access *acc)
{
	acc->value = table[acc->offset];
	return 0;
}

KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	return KVMBPF_DECLINE;
}
