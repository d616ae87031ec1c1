// SPDX-License-Identifier: GPL-2.0-or-later
/* What the author's header brings for its log, and state of the author's own. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef RING_BYTES
#define RING_BYTES 4096
#endif

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_BYTES);
} kvmbpf_log_ring SEC(".maps");

volatile __u32 kvmbpf_log_listeners SEC(".data.kvmbpf_log");
#ifdef COUNTED
volatile __u32 kvmbpf_log_lost SEC(".data.kvmbpf_log");
#endif
__u32 own SEC(".data.own") = 1;
#ifdef OWN_GROWN
__u32 other SEC(".data.own") = 1;
#endif
__u64 count;

SEC("syscall")
int say(void *ctx)
{
	count++;
#ifdef OWN_GROWN
	own += other;
#endif
	if (kvmbpf_log_listeners)
		return bpf_ringbuf_output(&kvmbpf_log_ring, (void *)&count, 8, 0);
	return own;
}
