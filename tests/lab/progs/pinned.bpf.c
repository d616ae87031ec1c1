// SPDX-License-Identifier: GPL-2.0-or-later
/* A map that asks libbpf for a pin of its name, which would make it one for all VMs. */
#include <kvmbpf.bpf.h>

KVMBPF_DEVICE(pinned, .compatible = "kvmbpf,pinned", .regions = { KVMBPF_MMIO(0x1000) });

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} shared_by_name SEC(".maps");

KVMBPF_READ(struct kvmbpf_access *acc)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(&shared_by_name, &key);

	acc->value = value ? (*value)++ : 0;
	return 0;
}

KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	return acc->len ? 0 : KVMBPF_DECLINE;
}
