// SPDX-License-Identifier: GPL-2.0-or-later
/* Maps of many kinds as a device's state: what is in them no list shows. */
#include <kvmbpf.bpf.h>

KVMBPF_DEVICE(kinds, .compatible = "kvmbpf,kinds", .regions = { KVMBPF_MMIO(0x1000) });

#define ARENA 33 /* enum bpf_map_type of Linux 6.9 */

static __u64 count;

#define MAP(name, kind, ...)                                                                       \
	struct {                                                                                   \
		__uint(type, kind);                                                                \
		__VA_ARGS__                                                                        \
	} name SEC(".maps")
#define KEYED(entries)                                                                             \
	__uint(max_entries, entries);                                                              \
	__type(key, __u32);                                                                        \
	__type(value, __u64);
#define QUEUED                                                                                     \
	__uint(max_entries, 4);                                                                    \
	__type(value, __u64);

MAP(each_cpu, BPF_MAP_TYPE_PERCPU_ARRAY, KEYED(4));
MAP(each_cpu_lru, BPF_MAP_TYPE_LRU_PERCPU_HASH, KEYED(4));
MAP(large, BPF_MAP_TYPE_ARRAY, KEYED(1 << 18));
MAP(queue, BPF_MAP_TYPE_QUEUE, QUEUED);
MAP(stack, BPF_MAP_TYPE_STACK, QUEUED);
MAP(bloom, BPF_MAP_TYPE_BLOOM_FILTER, QUEUED);
MAP(ring, BPF_MAP_TYPE_RINGBUF, __uint(max_entries, 5000););
MAP(perf, BPF_MAP_TYPE_PERF_EVENT_ARRAY, __type(key, __u32); __type(value, __u32););
MAP(untyped, BPF_MAP_TYPE_HASH, __uint(max_entries, 4); __uint(key_size, 4);
    __uint(value_size, 8););
MAP(arena, ARENA, __uint(map_flags, BPF_F_MMAPABLE); __uint(max_entries, 4););

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	KEYED(2)
} inner SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct inner);
} outer SEC(".maps") = { .values = { &inner } };

KVMBPF_READ(struct kvmbpf_access *acc)
{
	__u32 key = 0;
	void *found = bpf_map_lookup_elem(&outer, &key);
	__u64 *value = found ? bpf_map_lookup_elem(found, &key) : 0;

	if (!value)
		return -ENOENT;
	count++;
	++*value;
	acc->value = 0;
	return 0;
}

KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	return bpf_map_push_elem(&queue, &count, 0);
}
