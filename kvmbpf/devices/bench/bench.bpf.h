/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bench device: the least that answers
 *
 * What `kvmbpf bench` measures: a read gives the sum of what was written.
 * Every offset and width is the same register, so that the program adds next to
 * nothing to the cost of getting to it and back. bench.bpf.c has it on the MMIO
 * bus and bench_pio.bpf.c at ports: each defines BENCH_REGION and includes this
 * file, so that they differ in nothing else.
 */
#ifndef BENCH_REGION
#error "define BENCH_REGION, as KVMBPF_MMIO(0x1000), before including bench.bpf.h"
#endif

#include <kvmbpf.bpf.h>

KVMBPF_DEVICE(bench, .compatible = "kvmbpf,bench", .regions = { BENCH_REGION });

__u64 sum; /* of all values written */

KVMBPF_READ(struct kvmbpf_access *acc)
{
	acc->value = sum;
	return 0;
}

KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	sum += acc->value;
	return 0;
}
