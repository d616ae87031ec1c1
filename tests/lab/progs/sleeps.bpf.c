// SPDX-License-Identifier: GPL-2.0-or-later
/* Refused: it may sleep, in a program that must not. */
#include <kvmbpf.bpf.h>

char LICENSE[] SEC("license") = "GPL";

SEC("struct_ops/read_it") int read_it(__u64 *ctx)
{
	char buffer[8];

	return bpf_copy_from_user(buffer, sizeof(buffer), (void *)ctx[0]);
}

SEC(".struct_ops.link") struct kvm_bpf_ops kvmbpf_ops = { .read = (void *)read_it };
