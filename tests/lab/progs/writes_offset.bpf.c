// SPDX-License-Identifier: GPL-2.0-or-later
/* Refused: it writes to a field of the kernel's access that is not the result. */
#include <kvmbpf.bpf.h>

char LICENSE[] SEC("license") = "GPL";

SEC("struct_ops/read_it") int read_it(__u64 *ctx)
{
	struct kvm_bpf_access *acc = (void *)ctx[0];

	acc->offset = 1;
	return 0;
}

SEC(".struct_ops.link") struct kvm_bpf_ops kvmbpf_ops = { .read = (void *)read_it };
