// SPDX-License-Identifier: GPL-2.0-or-later
/* Refused: an element that may not be there. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u64);
	__type(value, __u64);
} table SEC(".maps");

char LICENSE[] SEC("license") = "GPL";

SEC("syscall")
int looks_up(__u64 *ctx)
{
	__u64 key = *ctx;
	__u64 *value = bpf_map_lookup_elem(&table, &key);

	return *value; /* here */
}
