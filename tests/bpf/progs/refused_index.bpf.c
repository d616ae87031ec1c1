// SPDX-License-Identifier: GPL-2.0-or-later
/* Refused: an index that nothing bounds. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

__u64 registers[4];

SEC("syscall")
int reads(__u64 *ctx)
{
	__u64 index = *ctx;

	return registers[index]; /* here */
}
