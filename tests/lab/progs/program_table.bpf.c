// SPDX-License-Identifier: GPL-2.0-or-later
/* A map of programs, which libbpf fills while the last version uses it. */
#include <kvmbpf.bpf.h>

KVMBPF_DEVICE(program_table, .compatible = "kvmbpf,program_table",
	      .regions = { KVMBPF_MMIO(0x1000) });

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} table SEC(".maps");

KVMBPF_READ(struct kvmbpf_access *acc)
{
	acc->value = 0;
	return 0;
}

KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	return acc->len ? 0 : KVMBPF_DECLINE;
}
