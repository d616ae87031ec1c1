// SPDX-License-Identifier: GPL-2.0-or-later
/* A device whose programs sleep: guest memory, of whichever device, and clamps. */
#include "kept.bpf.h"

static __always_inline int access_own_memory(struct kvm_bpf_access *acc)
{
	struct kvm_bpf_device *dev = kvm_bpf_device_acquire(acc);
	int r = access_memory(dev);

	kvm_bpf_device_release(dev);
	return r;
}

SEC("struct_ops.s/read_it") int read_it(__u64 *ctx)
{
	struct kvm_bpf_access *acc = FUZZ_ACCESS(ctx);

	ran(FUZZ_READ);
	acc->value = access_own_memory(acc);
	if (steer.choice & 4)
		kvm_bpf_set_uclamp(acc, steer.clamp_min, steer.clamp_max);
	return steer.result;
}

SEC("struct_ops.s/write_it") int write_it(__u64 *ctx)
{
	struct kvm_bpf_access *acc = FUZZ_ACCESS(ctx);
	struct slot *slot = get_slot();

	ran(FUZZ_WRITE);
	if (!slot)
		return FUZZ_DECLINE;

	access_memory_of_kept(slot);
	if (steer.choice & 8)
		keep(slot, acc);
	kvm_bpf_set_irq(acc, steer.irq, steer.level);
	return steer.result;
}

SEC("struct_ops.s/reset_it") int reset_it(__u64 *ctx)
{
	ran(FUZZ_RESET);
	access_memory((struct kvm_bpf_device *)ctx[0]);
	return steer.reset_result;
}

FUZZ_OPS(.reset = (void *)reset_it);
