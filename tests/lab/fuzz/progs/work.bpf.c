// SPDX-License-Identifier: GPL-2.0-or-later
/* A device that reaches guest memory from a work, where it may sleep. */
#include "kept.bpf.h"

static int work(void *map, int *key, void *value)
{
	struct slot *slot = value;

	(void)map;
	(void)key;
	ran(FUZZ_LATER);
	access_memory_of_kept(slot);
	set_irq_of_kept(slot);
	return 0;
}

static __always_inline void start(struct kvm_bpf_access *acc)
{
	struct slot *slot = get_slot();

	if (!slot)
		return;

	keep(slot, acc);
	bpf_wq_init(&slot->work, &slots, 0);
	bpf_wq_set_callback_impl(&slot->work, work, 0, NULL);
	bpf_wq_start(&slot->work, 0);
}

SEC("struct_ops/read_it") int read_it(__u64 *ctx)
{
	ran(FUZZ_READ);
	FUZZ_ACCESS(ctx)->value = steer.answer;
	start(FUZZ_ACCESS(ctx));
	return steer.result;
}

SEC("struct_ops/write_it") int write_it(__u64 *ctx)
{
	ran(FUZZ_WRITE);
	start(FUZZ_ACCESS(ctx));
	return steer.result;
}

FUZZ_OPS();
