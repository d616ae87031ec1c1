// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The demo device, version 1: the version to start with
 *
 * The device is in demo.bpf.h. It is replaced by demo_v2.bpf.c while the guest runs.
 */
#define DEMO_VERSION 1
#include "demo.bpf.h"
