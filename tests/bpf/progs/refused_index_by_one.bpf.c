// SPDX-License-Identifier: GPL-2.0-or-later
/* Refused: an index whose bound is one too far. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

__u64 registers[4];

SEC("syscall")
int reads(__u64 *ctx)
{
	__u64 index = *ctx;

	if (index > 4)
		return 1;
	return registers[index]; /* here */
}
