/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two processes of the kill test, and what they share with the one that
 * kills them: how far they are.
 */
#ifndef FUZZ_KILL_H
#define FUZZ_KILL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum phase {
	/* The VMM's. */
	VMM_STARTS,
	VMM_CREATES_VM,
	VMM_SETS_MEMORY,
	VMM_CREATES_IRQCHIP,
	VMM_CREATES_VCPUS,
	VMM_HANDS_OVER,
	VMM_RUNS,
	/* The manager's. */
	MANAGER_STARTS,
	MANAGER_LOADS,
	MANAGER_CREATES_DEVICE,
	MANAGER_CONFIGURES,
	MANAGER_MAKES_MAP,
	MANAGER_ATTACHES,
	MANAGER_PINS,
	MANAGER_UPDATES,
	MANAGER_UNPINS,
	MANAGER_DETACHES,
	MANAGER_CLOSES,
	NR_PHASES,
};

#define FIRST_OF_MANAGER MANAGER_STARTS

struct kill_round {
	int vmm_phase;
	int manager_phase;
	int reached[NR_PHASES];
	uint64_t began_ns[NR_PHASES];
	pid_t manager;
	bool inherits; /* the manager is the VMM's child and has the VM from it */
	bool manager_done;
	bool vm_lost; /* the VMM ended before it handed the VM over */
	uint64_t exits; /* of the guest to the VMM */
	int fuse_phase; /* whoever enters it is killed ... */
	uint64_t fuse_ns; /* ... after this time, which is not 0; 0: nobody is */
	int fuse_steps; /* ... or after as many calls; 0: by the time */
};

extern struct kill_round *kill_round;
extern const char *kill_pin;

uint64_t now_ns(void);
void enter(enum phase phase);
void be_vmm(int kvm, int channel);
void be_manager(int vm, int channel);

#endif /* FUZZ_KILL_H */
