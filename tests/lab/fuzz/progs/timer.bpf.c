// SPDX-License-Identifier: GPL-2.0-or-later
/* A device that raises its interrupt from a timer. */
#include "kept.bpf.h"

static int expired(void *map, int *key, struct slot *slot)
{
	(void)map;
	(void)key;
	ran(FUZZ_LATER);
	set_irq_of_kept(slot);
	if (steer.choice & 1)
		bpf_timer_start(&slot->timer, steer.delay_ns, 0);
	return 0;
}

SEC("struct_ops/read_it") int read_it(__u64 *ctx)
{
	struct slot *slot = get_slot();

	ran(FUZZ_READ);
	FUZZ_ACCESS(ctx)->value = steer.answer;
	if (slot && steer.choice & 2)
		bpf_timer_cancel(&slot->timer);
	return steer.result;
}

SEC("struct_ops/write_it") int write_it(__u64 *ctx)
{
	struct slot *slot = get_slot();

	ran(FUZZ_WRITE);
	if (!slot)
		return FUZZ_DECLINE;

	keep(slot, FUZZ_ACCESS(ctx));
	/* It may be there from the last time. */
	bpf_timer_init(&slot->timer, &slots, FUZZ_MONOTONIC);
	bpf_timer_set_callback(&slot->timer, expired);
	bpf_timer_start(&slot->timer, steer.delay_ns, 0);
	return steer.result;
}

SEC("struct_ops/reset_it") int reset_it(__u64 *ctx)
{
	(void)ctx;
	ran(FUZZ_RESET);
	return steer.reset_result;
}

FUZZ_OPS(.reset = (void *)reset_it);
