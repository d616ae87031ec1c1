// SPDX-License-Identifier: GPL-2.0-or-later
/* Refused: a kernel function that may sleep, in a program that must not. */
#include <kvmbpf.bpf.h>

char LICENSE[] SEC("license") = "GPL";

SEC("struct_ops/read_it") int read_it(__u64 *ctx)
{
	struct kvm_bpf_access *acc = (void *)ctx[0];

	return kvm_bpf_set_uclamp(acc, 0, 1024);
}

SEC(".struct_ops.link") struct kvm_bpf_ops kvmbpf_ops = { .read = (void *)read_it };
