// SPDX-License-Identifier: GPL-2.0-or-later
/* A device that reads only, by a sleepable program. */
#include <kvmbpf.bpf.h>

char LICENSE[] SEC("license") = "GPL";

SEC("struct_ops.s/read_it") int read_it(__u64 *ctx)
{
	struct kvm_bpf_access *acc = (void *)ctx[0];

	acc->value = 0x51ee9;
	return 0;
}

SEC(".struct_ops.link") struct kvm_bpf_ops kvmbpf_ops = { .read = (void *)read_it };
