// SPDX-License-Identifier: GPL-2.0-or-later
/* Refused: a shift that is as wide as the number. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("syscall")
int shifts(__u64 *ctx)
{
	__u64 number = *ctx;

	asm volatile("%0 <<= 64" : "+r"(number)); /* here */
	return number;
}
