// SPDX-License-Identifier: GPL-2.0-or-later
/* A device that returns what it is told to, and calls what needs no sleep. */
#include "fuzz.bpf.h"

SEC("struct_ops/read_it") int read_it(__u64 *ctx)
{
	struct kvm_bpf_access *acc = FUZZ_ACCESS(ctx);

	ran(FUZZ_READ);
	acc->value = steer.answer + kvm_bpf_cpu_freq(acc) + kvm_bpf_cpu_max_freq(acc);
	return steer.result;
}

SEC("struct_ops/write_it") int write_it(__u64 *ctx)
{
	struct kvm_bpf_access *acc = FUZZ_ACCESS(ctx);

	ran(FUZZ_WRITE);
	if (steer.choice & 1)
		kvm_bpf_set_irq(acc, steer.irq, steer.level);
	if (steer.choice & 2)
		kvm_bpf_kick_vcpu(acc, steer.vcpu);
	return steer.result;
}

SEC("struct_ops/reset_it") int reset_it(__u64 *ctx)
{
	ran(FUZZ_RESET);
	kvm_bpf_device_set_irq((struct kvm_bpf_device *)ctx[0], steer.irq, steer.level);
	return steer.reset_result;
}

FUZZ_OPS(.reset = (void *)reset_it);
