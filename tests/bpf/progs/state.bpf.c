// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * State of every kind, and programs that use it.
 *
 * VERSION is what version() answers. The other defines change the layout of
 * one part of the state each; without any, versions differ in code only.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#ifndef VERSION
#define VERSION 1
#endif

struct context {
	__u64 in;
	__u64 out;
};

enum mode { MODE_OFF, MODE_ON = 7 };

struct entry {
#ifdef ENTRY_SWAPPED
	__u32 second;
	__u32 first;
#else
	__u32 first;
	__u32 second;
#endif
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
#ifdef MORE_ENTRIES
	__uint(max_entries, 32);
#else
	__uint(max_entries, 16);
#endif
	__type(key, __u32);
	__type(value, struct entry);
} entries SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} per_cpu SEC(".maps");

#ifdef EXTRA_MAP
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} extra SEC(".maps");
#endif

char LICENSE[] SEC("license") = "GPL";

/* .rodata */
const volatile __u32 limit = 5 * VERSION;

/* .data */
__s64 start = -3;

/* .bss, but for the first two */
#ifdef COUNT_INITIALISED
__u64 count = 100;
#elif defined(COUNT_CONSTANT)
const volatile __u64 count;
#elif defined(COUNT_GONE)
__u64 total;
#define count total
#elif defined(COUNT_IS_NARROW)
__u32 count;
#elif defined(COUNT_IS_SIGNED)
__s64 count;
#else
__u64 count;
#endif
#ifdef HEAD_MOVED
struct {
	__u64 tail;
	__u64 head;
} queue;
#else
struct {
	__u64 head;
	__u64 tail;
} queue;
#endif
__s8 tiny;
__u16 small;
__s32 medium;
bool flag;
enum mode mode;
__u8 bytes[5];
#ifdef GROWN
__u64 zzz;
#endif

SEC("syscall")
int step(struct context *ctx)
{
#ifndef COUNT_CONSTANT
	count += ctx->in;
#endif
	queue.head++;
	ctx->out = count;
	tiny = -1;
	small = 0xffff;
	medium = -70000;
	flag = true;
	mode = MODE_ON;
	bytes[4] = 9;
	return count > limit ? -7 : 0;
}

SEC("syscall")
int remember(struct context *ctx)
{
	__u32 key = ctx->in, zero = 0;
	struct entry entry = { .first = ctx->in, .second = ctx->out };
	__u32 *mine = bpf_map_lookup_elem(&per_cpu, &zero);

	if (mine)
		*mine += 1;
#ifdef EXTRA_MAP
	__u64 value = ctx->in;
	bpf_map_update_elem(&extra, &zero, &value, BPF_ANY);
#endif
	return bpf_map_update_elem(&entries, &key, &entry, BPF_ANY);
}

SEC("syscall")
int version(struct context *ctx)
{
	ctx->out = start;
#ifdef GROWN
	zzz++;
#endif
	return VERSION;
}
