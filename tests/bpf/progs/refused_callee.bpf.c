// SPDX-License-Identifier: GPL-2.0-or-later
/* Refused: an index that nothing bounds, in a function that is called. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 registers[4];

char LICENSE[] SEC("license") = "GPL";

static __attribute__((noinline)) __u64 register_at(__u64 index)
{
	return registers[index]; /* here */
}

SEC("syscall")
int reads(__u64 *ctx)
{
	return register_at(ctx[0]) + register_at(ctx[1]);
}
