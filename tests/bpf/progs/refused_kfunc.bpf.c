// SPDX-License-Identifier: GPL-2.0-or-later
/* Refused: a kernel function that exists, for another kind of program. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct sock {
	int unused;
} __attribute__((preserve_access_index));

extern __u32 tcp_reno_undo_cwnd(struct sock *sk) __ksym;

char LICENSE[] SEC("license") = "GPL";

SEC("syscall")
int calls(struct sock *ctx)
{
	return tcp_reno_undo_cwnd(ctx); /* here */
}
