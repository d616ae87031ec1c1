// SPDX-License-Identifier: GPL-2.0-or-later
/* The steered device, version 1. */
#define VERSION 1
#include "steered.bpf.h"
