// SPDX-License-Identifier: GPL-2.0-or-later
/* A ring buffer, and a program that sends records into it. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct record {
	__u64 number;
	char text[24];
};

struct order {
	__u32 count;
	__u32 discard; /* each record whose number is a multiple of it */
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} other SEC(".maps");

__u64 sent;
__u64 dropped;

SEC("syscall")
int send(struct order *order)
{
	__u32 count = order->count, discard = order->discard, zero = 0;

	if (!bpf_map_lookup_elem(&other, &zero))
		return -1;
	for (__u32 i = 0; i < 200 && i < count; i++) {
		struct record *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);

		if (!record) {
			dropped++;
			continue;
		}
		record->number = sent++;
		__builtin_memcpy(record->text, "a record of 32 bytes all", 24);
		if (discard && record->number % discard == 0)
			bpf_ringbuf_discard(record, 0);
		else
			bpf_ringbuf_submit(record, 0);
	}
	return 0;
}
