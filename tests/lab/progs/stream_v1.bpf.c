// SPDX-License-Identifier: GPL-2.0-or-later
/* The stream, version 1. */
#define VERSION 1
#include "stream.bpf.h"
