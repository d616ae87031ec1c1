// SPDX-License-Identifier: GPL-2.0-or-later
/* Variables that are not static. */
#define VARIABLE
#include "sections.bpf.h"
