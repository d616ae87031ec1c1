// SPDX-License-Identifier: GPL-2.0-or-later
/* Refused: a constant that is written. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

const volatile __u32 limit = 5;

char LICENSE[] SEC("license") = "GPL";

SEC("syscall")
int writes(__u64 *ctx)
{
	*(volatile __u32 *)&limit = *ctx; /* here */
	return 0;
}
