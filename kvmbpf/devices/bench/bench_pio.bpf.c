// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The bench device at ports
 *
 * The device is in bench.bpf.h.
 */
#define BENCH_REGION KVMBPF_PIO(4)
#include "bench.bpf.h"
