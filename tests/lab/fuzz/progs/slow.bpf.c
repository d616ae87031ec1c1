// SPDX-License-Identifier: GPL-2.0-or-later
/* A device that takes its time, up to what the limits call a fault. */
#include "fuzz.bpf.h"

#define MAX_SPINS (1 << 16)

static long spin(__u32 index, void *context)
{
	(void)index;
	(void)context;
	return 0;
}

static __always_inline void spend_time(void)
{
	bpf_loop(steer.spins & (MAX_SPINS - 1), spin, NULL, 0);
}

SEC("struct_ops/read_it") int read_it(__u64 *ctx)
{
	ran(FUZZ_READ);
	spend_time();
	FUZZ_ACCESS(ctx)->value = steer.answer;
	return 0;
}

SEC("struct_ops/write_it") int write_it(__u64 *ctx)
{
	(void)ctx;
	ran(FUZZ_WRITE);
	spend_time();
	return 0;
}

SEC("struct_ops/reset_it") int reset_it(__u64 *ctx)
{
	(void)ctx;
	ran(FUZZ_RESET);
	spend_time();
	return 0;
}

FUZZ_OPS(.reset = (void *)reset_it);
