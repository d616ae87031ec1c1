// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A TCP congestion control: a struct_ops type that ordinary kernels have, can
 * replace while attached, and call on request: init() runs on each
 * setsockopt(TCP_CONGESTION).
 *
 * UNLINKED puts it in the section that makes no link; FLAGS is a plain member.
 * A program must be a callback of some map to be loaded: that of `spare` is for
 * tests that choose the programs themselves.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifdef UNLINKED
#define SECTION ".struct_ops"
#else
#define SECTION ".struct_ops.link"
#endif
#ifndef FLAGS
#define FLAGS 0
#endif
#ifndef NAME
#define NAME "kvmbpf_test"
#endif

char LICENSE[] SEC("license") = "GPL";

struct sock;

/* The members that are set; libbpf finds their places in the kernel's own. */
struct tcp_congestion_ops {
	void (*init)(struct sock *sk);
	__u32 (*ssthresh)(struct sock *sk);
	__u32 (*undo_cwnd)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	char name[16];
	__u32 flags;
};

__u64 inits;
__u64 others;

SEC("struct_ops/cc_init")
void cc_init(void *ctx)
{
	inits++;
}

SEC("struct_ops/cc_other_init")
void cc_other_init(void *ctx)
{
	others++;
}

SEC("struct_ops/cc_ssthresh")
__u32 cc_ssthresh(void *ctx)
{
	return 2;
}

SEC("struct_ops/cc_undo_cwnd")
__u32 cc_undo_cwnd(void *ctx)
{
	return 4;
}

SEC("struct_ops/cc_cong_avoid")
void cc_cong_avoid(void *ctx)
{
}

SEC(SECTION)
struct tcp_congestion_ops congestion = {
	.init = (void *)cc_init,
	.ssthresh = (void *)cc_ssthresh,
	.undo_cwnd = (void *)cc_undo_cwnd,
	.cong_avoid = (void *)cc_cong_avoid,
	.name = NAME,
	.flags = FLAGS,
};

SEC(SECTION)
struct tcp_congestion_ops spare = {
	.init = (void *)cc_other_init,
	.name = "kvmbpf_spare",
};
