// SPDX-License-Identifier: GPL-2.0-or-later
/* Refused: a result that this kind of program may not give. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("cgroup/skb")
int answers(struct __sk_buff *ctx)
{
	return 7; /* here */
}
