// SPDX-License-Identifier: GPL-2.0-or-later
/* The stream, version 2. */
#define VERSION 2
#include "stream.bpf.h"
