// SPDX-License-Identifier: GPL-2.0-or-later
/* The line is edge-triggered. */
#define LEVEL_IRQS 0
#include "lvl.bpf.h"
