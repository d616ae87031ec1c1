// SPDX-License-Identifier: GPL-2.0-or-later
/* Refused: a number that is used as a pointer. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("syscall")
int follows(__u64 *ctx)
{
	__u64 *pointer = (void *)*ctx;

	return *pointer; /* here */
}
