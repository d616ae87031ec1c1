// SPDX-License-Identifier: GPL-2.0-or-later
/* Variables that are static. */
#define VARIABLE static
#include "sections.bpf.h"
