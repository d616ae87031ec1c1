// SPDX-License-Identifier: GPL-2.0-or-later
/* The line is level-triggered. */
#define LEVEL_IRQS 1
#include "lvl.bpf.h"
