// SPDX-License-Identifier: GPL-2.0-or-later
/* Refused: it gives the interrupt kfunc an access of its own making. */
#include <kvmbpf.bpf.h>

char LICENSE[] SEC("license") = "GPL";

SEC("struct_ops/write_it") int write_it(__u64 *ctx)
{
	struct kvm_bpf_access forged = {};

	return kvm_bpf_set_irq(&forged, 0, 1) + (int)ctx[0];
}

SEC(".struct_ops.link") struct kvm_bpf_ops kvmbpf_ops = { .write = (void *)write_it };
