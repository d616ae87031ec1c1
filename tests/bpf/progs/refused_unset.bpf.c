// SPDX-License-Identifier: GPL-2.0-or-later
/* Refused: a result that is not set on every path; clang would say so too. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#pragma clang diagnostic ignored "-Wsometimes-uninitialized"

char LICENSE[] SEC("license") = "GPL";

SEC("syscall")
int returns(__u64 *ctx)
{
	int result;

	if (*ctx == 3)
		asm volatile("%0 = 3" : "=r"(result));
	return result; /* here */
}
