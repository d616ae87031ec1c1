// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The demo device, version 2: the version that replaces v1
 *
 * The device is in demo.bpf.h. Only the version that the guest reads differs from demo_v1.bpf.c: state is kept.
 */
#define DEMO_VERSION 2
#include "demo.bpf.h"
