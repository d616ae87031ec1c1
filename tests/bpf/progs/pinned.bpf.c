// SPDX-License-Identifier: GPL-2.0-or-later
/* A map that asks libbpf for a pin of its name, to be shared with whoever has that too. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} kvmbpf_test_shared SEC(".maps");

char LICENSE[] SEC("license") = "GPL";
