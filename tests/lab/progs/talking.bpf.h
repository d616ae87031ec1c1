/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A device that says something at each access. VERSION is defined by the two
 * objects that include this file.
 */
#include <kvmbpf.bpf.h>

KVMBPF_DEVICE(talking, .compatible = "kvmbpf,talking", .regions = { KVMBPF_MMIO(0x1000) });

__u64 calls;

KVMBPF_READ(struct kvmbpf_access *acc)
{
	calls++;
	kvmbpf_log("version %u, read %llu at 0x%llx", VERSION, calls, acc->offset);
	return KVMBPF_ANSWERED;
}

KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	return KVMBPF_ANSWERED;
}
