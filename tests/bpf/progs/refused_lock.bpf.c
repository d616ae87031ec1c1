// SPDX-License-Identifier: GPL-2.0-or-later
/* Refused: a lock that one path keeps. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct guarded {
	struct bpf_spin_lock lock;
	__u32 count;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct guarded);
} table SEC(".maps");

char LICENSE[] SEC("license") = "GPL";

SEC("syscall")
int keeps(__u64 *ctx)
{
	__u32 zero = 0;
	struct guarded *it = bpf_map_lookup_elem(&table, &zero);

	if (!it)
		return 1;
	bpf_spin_lock(&it->lock);
	if (it->count == 3)
		return 2;
	bpf_spin_unlock(&it->lock);
	return 0;
} /* here */
