// SPDX-License-Identifier: GPL-2.0-or-later
/* Refused: a loop with an end, of more steps than the verifier takes. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("syscall")
int counts(__u64 *ctx)
{
	__u64 sum = *ctx;

	for (int i = 0; i < 2000000; i++) /* here */
		asm volatile("%0 += %1" : "+r"(sum) : "r"(i));
	return sum;
}
