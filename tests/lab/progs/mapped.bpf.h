/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A device whose versions have maps in common and maps of their own: version 1
 * has `kept` and `first`, version 2 `kept` and `second`. VERSION is defined by
 * the two objects that include this file.
 */
#include <kvmbpf.bpf.h>

KVMBPF_DEVICE(mapped, .compatible = "kvmbpf,mapped", .regions = { KVMBPF_MMIO(0x1000) });

struct slots {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
};

struct slots kept SEC(".maps");
#if VERSION == 1
struct slots first SEC(".maps");
#define OWN first
#else
struct slots second SEC(".maps");
#define OWN second
#endif

__u64 calls;		/* accesses, by whatever version */
__u32 version;		/* which object answered last */
struct {
	__u16 half;
	char text[6];
} shape[2];
int numbers[3];
__u64 shown[8];		/* what a read at offset 8 * i gives */

static __always_inline void count(void *map)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(map, &key);

	if (value)
		(*value)++;
}

KVMBPF_READ(struct kvmbpf_access *acc)
{
	calls++;
	version = VERSION;
	count(&kept);
	count(&OWN);
	if (acc->offset / 8 < 8)
		acc->value = shown[acc->offset / 8];
	return acc->offset < 0x800 ? KVMBPF_ANSWERED : KVMBPF_DECLINE;
}

KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	calls++;
	numbers[0]++;
	shape[0].half++;
	return acc->offset < 0x800 ? KVMBPF_ANSWERED : -5;
}
