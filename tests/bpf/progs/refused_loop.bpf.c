// SPDX-License-Identifier: GPL-2.0-or-later
/* Refused: a loop that never ends. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

__u64 ticks;

SEC("syscall")
int waits(__u64 *ctx)
{
	for (;;) /* here */
		__sync_fetch_and_add(&ticks, 1);
	return 0;
}
