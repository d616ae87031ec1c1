// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * State of every sort of type; a define changes one thing of it.
 *
 * The map `map` and the variable `device` have the same struct each, so that both
 * ways into the comparison meet it.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef KIND
#define KIND BPF_MAP_TYPE_HASH
#endif
#ifndef ENTRIES
#define ENTRIES 16
#endif
#ifndef FLAGS
#define FLAGS 0
#endif
#ifndef KEY
#define KEY __u32
#endif
#ifndef SLOTS
#define SLOTS 4
#endif
#ifndef FLAG_BITS
#define FLAG_BITS 3
#endif
#ifndef MODE_ON_VALUE
#define MODE_ON_VALUE 7
#endif
#ifndef HEAD
#define HEAD __u64 head
#endif
#ifndef BEFORE_HEAD
#define BEFORE_HEAD
#endif
#ifndef LAST
#define LAST
#endif
#ifndef NEXT
#define NEXT struct other *next
#endif
#ifndef MODE_TYPE
#define MODE_TYPE enum mode
#endif
#ifndef SLOT_FIELD
#define SLOT_FIELD __u16 length
#endif
#ifndef LABEL
#define LABEL char label[8]
#endif
#ifndef TIMER
#define TIMER struct bpf_timer
#endif
#ifndef EXTRA_NAME
#define EXTRA_NAME
#endif
#ifndef CHOICE
#define CHOICE __u32 high
#endif
#ifndef MATRIX
#define MATRIX __u8 matrix[2][3]
#endif

struct other;

enum mode { MODE_OFF, MODE_ON = MODE_ON_VALUE EXTRA_NAME };

struct slot {
	__u32 number;
	SLOT_FIELD;
};

struct state {
	BEFORE_HEAD HEAD;
	__u64 tail;
	__u32 flags : FLAG_BITS;
	__u32 rest : 5;
	MODE_TYPE mode;
	struct slot slots[SLOTS];
	LABEL;
	union {
		__u64 whole;
		struct {
			__u32 low;
			CHOICE;
		};
	};
	NEXT;
	MATRIX;
	LAST
};

struct {
	__uint(type, KIND);
	__uint(max_entries, ENTRIES);
	__uint(map_flags, FLAGS);
	__type(key, KEY);
	__type(value, struct state);
} map SEC(".maps");

struct pair {
	__u64 one;
	__u64 two;
};

struct timed {
	__u64 before;
	TIMER timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct timed);
} timers SEC(".maps");

#ifdef KPTR
#define TASK struct task_struct __kptr *task
#else
#define TASK struct task_struct __kptr_untrusted *task
#endif

struct task_struct;

struct kept {
	TASK;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct kept);
} tasks SEC(".maps");

char LICENSE[] SEC("license") = "GPL";

struct state device;

#ifdef RENAMED_VARIABLE
#define total sum
#endif
__u64 total;

SEC("syscall")
int use(struct state *ctx)
{
	__u32 zero = 0;
	struct state *it;
	KEY key;

	__builtin_memset(&key, 0, sizeof(key));
	it = bpf_map_lookup_elem(&map, &key);
	total++;
	device.flags = 1;
	if (it)
		it->flags = 1;
	return bpf_map_lookup_elem(&timers, &zero) && bpf_map_lookup_elem(&tasks, &zero);
}
