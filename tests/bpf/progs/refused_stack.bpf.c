// SPDX-License-Identifier: GPL-2.0-or-later
/* Refused: two functions with more than 512 bytes on the stack. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

static __attribute__((noinline)) int deeper(__u64 *ctx)
{
	char buffer[300];

	for (int i = 0; i < 300; i++)
		buffer[i] = ctx[0] + i;
	asm volatile("" ::"r"(buffer) : "memory");
	return buffer[ctx[1] & 255];
}

SEC("syscall")
int deep(__u64 *ctx) /* here */
{
	char buffer[300];

	for (int i = 0; i < 300; i++)
		buffer[i] = ctx[0] + i;
	asm volatile("" ::"r"(buffer) : "memory");
	return buffer[ctx[1] & 255] + deeper(ctx);
}
