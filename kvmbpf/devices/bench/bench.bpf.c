// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The bench device on the MMIO bus
 *
 * The device is in bench.bpf.h.
 */
#define BENCH_REGION KVMBPF_MMIO(0x1000)
#include "bench.bpf.h"
