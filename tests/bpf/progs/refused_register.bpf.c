// SPDX-License-Identifier: GPL-2.0-or-later
/* Refused: a register that nothing was put into. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("syscall")
int copies(__u64 *ctx)
{
	asm volatile("r2 = r7" ::: "r2"); /* here */
	return 0;
}
