// SPDX-License-Identifier: GPL-2.0-or-later
/* The small device, version 2: the version that replaces v1. It is in small.bpf.h. */
#define DEMO_VERSION 2
#include "small.bpf.h"
