/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * State in sections that the kernel maps and in such that it does not: libbpf makes
 * one mappable only if some variable of it is not static. VARIABLE says which.
 */
#include <kvmbpf.bpf.h>

KVMBPF_DEVICE(sections, .compatible = "kvmbpf,sections", .regions = { KVMBPF_MMIO(0x1000) });

VARIABLE __u64 count;
VARIABLE __u64 begun = 7;
VARIABLE __u64 apart SEC(".data.apart") = 5;
VARIABLE const volatile __u64 step = 1;

KVMBPF_READ(struct kvmbpf_access *acc)
{
	count += step;
	begun += step;
	apart += step;
	acc->value = 0;
	return 0;
}

KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	count += acc->value;
	return 0;
}
