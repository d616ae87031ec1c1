// SPDX-License-Identifier: GPL-2.0-or-later
/* The talking device, version 1. */
#define VERSION 1
#include "talking.bpf.h"
