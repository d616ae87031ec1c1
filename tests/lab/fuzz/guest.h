/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A real-mode guest that does little but reach for devices.
 *
 * Where things are is fixed, so that any VM, vCPU and device fit together:
 * code and interrupt vectors at the bottom, then memory that may be taken away
 * under the guest, then nothing, with the devices' windows above.
 */
#ifndef FUZZ_GUEST_H
#define FUZZ_GUEST_H

#include <stddef.h>
#include <stdint.h>

#include "random.h"

#define GUEST_CODE_BYTES 0x10000
#define GUEST_DATA_BYTES 0x10000
#define GUEST_DATA_GPA   GUEST_CODE_BYTES
#define GUEST_WINDOW     0xfe000000
#define GUEST_PORTS      0x300

struct guest_ram {
	char *code;
	char *data;
};

int guest_map_ram(struct guest_ram *ram, unsigned int home);
int guest_set_memory(int vm, const struct guest_ram *ram);
uint64_t guest_place(struct rng *rng);
uint16_t guest_port(struct rng *rng);
void guest_write_code(struct rng *rng, struct guest_ram *ram, uint16_t at);
int guest_set_registers(struct rng *rng, int vcpu, uint16_t at);
int guest_hammer(struct guest_ram *ram, int vcpu, uint16_t at);

#endif /* FUZZ_GUEST_H */
