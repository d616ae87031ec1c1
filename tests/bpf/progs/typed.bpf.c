// SPDX-License-Identifier: GPL-2.0-or-later
/* Maps and variables of every sort of type, and a program that reads and changes them. */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

enum mode { MODE_OFF, MODE_ON = 7, MODE_BROKEN = -1 };
enum wide { WIDE_NONE, WIDE_MOST = 0x7fffffff, WIDE_PAST = 0x100000000 };

struct key {
	__u16 bus;
	__u16 slot;
	__u32 index;
};

struct point {
	__s16 x;
	__s16 y;
};

struct element {
	__u8 flag : 1;
	__u8 count : 3;
	__s8 delta : 4;
	bool ready;
	enum mode mode;
	enum wide wide;
	struct point corners[2];
	__u32 numbers[3];
	char label[8];
	union {
		__u64 whole;
		struct {
			__u32 low;
			__u32 high;
		};
		__u8 raw[8];
	};
	union {
		__u32 code;
		float ratio;
	} named;
	double weight;
	void *where;
	volatile __u32 last;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, struct key);
	__type(value, struct element);
} elements SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__uint(value_size, 6);
} untyped SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 300);
	__type(key, __u32);
	__type(value, __u32);
} many SEC(".maps");

struct timed {
	__u32 before;
	struct bpf_spin_lock lock;
	struct bpf_timer timer;
	__u32 after;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct timed);
} timed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct point);
} per_cpu SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 4);
	__uint(value_size, 4);
} queue SEC(".maps");

struct element whole;
struct point path[3];
enum mode mode = MODE_ON;
char banner[16] = "hello";
__u64 sum;

SEC("syscall")
int change(struct key *ctx)
{
	struct key key = *ctx;
	struct element *it = bpf_map_lookup_elem(&elements, &key);

	if (!it)
		return -2;
	sum = it->flag + it->count + it->delta + it->numbers[2] + it->low + it->corners[1].y;
	it->count = 5;
	it->delta = -8;
	it->mode = MODE_BROKEN;
	it->corners[0].x = -300;
	it->high = 1;
	it->label[0] = 'X';
	whole = *it;
	path[2].y = 9;
	return it->ready;
}

SEC("syscall")
int keep(void *ctx)
{
	__u32 zero = 0;
	struct timed *it = bpf_map_lookup_elem(&timed, &zero);

	if (it) {
		bpf_spin_lock(&it->lock);
		it->after++;
		bpf_spin_unlock(&it->lock);
	}
	return bpf_map_lookup_elem(&untyped, &zero) && bpf_map_lookup_elem(&many, &zero) &&
	       bpf_map_lookup_elem(&per_cpu, &zero) && !bpf_map_peek_elem(&queue, &zero);
}
