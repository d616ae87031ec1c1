// SPDX-License-Identifier: GPL-2.0-or-later
/* A device that its vCPUs use at the same time. */
#include "fuzz.bpf.h"

#define KVM_BPF_OPS_CONCURRENT (1U << 0)

SEC("struct_ops/read_it") int read_it(__u64 *ctx)
{
	ran(FUZZ_READ);
	FUZZ_ACCESS(ctx)->value = steer.runs[FUZZ_READ];
	return steer.result;
}

SEC("struct_ops/write_it") int write_it(__u64 *ctx)
{
	ran(FUZZ_WRITE);
	kvm_bpf_set_irq(FUZZ_ACCESS(ctx), steer.irq, steer.level);
	return steer.result;
}

SEC("struct_ops/reset_it") int reset_it(__u64 *ctx)
{
	(void)ctx;
	ran(FUZZ_RESET);
	return steer.reset_result;
}

FUZZ_OPS(.reset = (void *)reset_it, .flags = KVM_BPF_OPS_CONCURRENT);
