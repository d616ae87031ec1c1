// SPDX-License-Identifier: GPL-2.0-or-later
/* A device that answers a part of its accesses, declines some, fails at others. */
#include "fuzz.bpf.h"

static __always_inline int outcome(struct kvm_bpf_access *acc)
{
	__u32 random = bpf_get_prandom_u32();

	switch (random & 3) {
	case 0:
		return 0;
	case 1:
		return FUZZ_DECLINE;
	case 2:
		return acc->offset;
	}

	return random;
}

SEC("struct_ops/read_it") int read_it(__u64 *ctx)
{
	ran(FUZZ_READ);
	return outcome(FUZZ_ACCESS(ctx));
}

SEC("struct_ops/write_it") int write_it(__u64 *ctx)
{
	ran(FUZZ_WRITE);
	return outcome(FUZZ_ACCESS(ctx));
}

SEC("struct_ops/reset_it") int reset_it(__u64 *ctx)
{
	(void)ctx;
	ran(FUZZ_RESET);
	return bpf_get_prandom_u32();
}

FUZZ_OPS(.reset = (void *)reset_it);
