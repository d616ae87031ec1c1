// SPDX-License-Identifier: GPL-2.0-or-later
/* The mapped device, version 2. */
#define VERSION 2
#include "mapped.bpf.h"
