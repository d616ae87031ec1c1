// SPDX-License-Identifier: GPL-2.0-or-later
/* The talking device, version 2. */
#define VERSION 2
#include "talking.bpf.h"
