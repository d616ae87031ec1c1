// SPDX-License-Identifier: GPL-2.0-or-later
/* A perf event array that leaves its size to libbpf: as many entries as there are CPUs. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
#ifdef ENTRIES
	__uint(max_entries, ENTRIES);
#endif
} events SEC(".maps");

char LICENSE[] SEC("license") = "GPL";
