// SPDX-License-Identifier: GPL-2.0-or-later
/* The mapped device, version 1. */
#define VERSION 1
#include "mapped.bpf.h"
