// SPDX-License-Identifier: GPL-2.0-or-later
/* The steered device, version 2. */
#define VERSION 2
#include "steered.bpf.h"
