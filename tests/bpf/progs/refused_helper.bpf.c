// SPDX-License-Identifier: GPL-2.0-or-later
/* Refused: a helper of another kind of program. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("syscall")
int calls(struct xdp_md *ctx)
{
	return bpf_xdp_adjust_head(ctx, 1); /* here */
}
