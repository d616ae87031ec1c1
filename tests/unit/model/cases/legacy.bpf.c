/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <kvmbpf.bpf.h>
KVMBPF_DEVICE(legacy, .compatible = "acme,legacy", .regions = { KVMBPF_MMIO(0x1000) }, .irqs = 1);
struct bpf_map_def {
	unsigned int type, key_size, value_size, max_entries, map_flags;
};
struct bpf_map_def SEC("maps") mine = {
	.type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 2
};
KVMBPF_READ(struct kvmbpf_access *acc)
{
	__u32 k = 0;
	__u64 *v = bpf_map_lookup_elem(&mine, &k);
	acc->value = v ? *v : 0;
	return 0;
}
KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	return 0;
}
