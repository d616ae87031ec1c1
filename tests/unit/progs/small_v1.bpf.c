// SPDX-License-Identifier: GPL-2.0-or-later
/* The small device, version 1: the version to start with. It is in small.bpf.h. */
#define DEMO_VERSION 1
#include "small.bpf.h"
