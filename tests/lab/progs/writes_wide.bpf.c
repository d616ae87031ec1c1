// SPDX-License-Identifier: GPL-2.0-or-later
/* Refused: its write starts in the result and ends behind it. */
#include <kvmbpf.bpf.h>

char LICENSE[] SEC("license") = "GPL";

SEC("struct_ops/read_it") int read_it(__u64 *ctx)
{
	char *acc = (void *)ctx[0];

	*(volatile __u64 *)(acc +
			    __builtin_preserve_field_info(((struct kvm_bpf_access *)0)->value,
							  0 /* byte offset */) +
			    4) = 1;
	return 0;
}

SEC(".struct_ops.link") struct kvm_bpf_ops kvmbpf_ops = { .read = (void *)read_it };
