/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The demo device: the example to copy
 *
 * All of the device but its version: demo_v1.bpf.c and demo_v2.bpf.c define
 * DEMO_VERSION and include this file, so that one can replace the other in a
 * running guest. Its registers are in demo_regs.h.
 *
 * Accesses from DEMO_REG_DECLINED on are declined and go to the VMM. Below
 * that, every access is answered: an offset that is no register reads 0, and so
 * does a register read at another width than its own; writes to anything but a
 * 4-byte doorbell do nothing.
 */
#ifndef DEMO_VERSION
#error "define DEMO_VERSION, 1 to 255, before including demo.bpf.h"
#endif

#include <kvmbpf.bpf.h>
#include "demo_regs.h"

/*
 * What the device is. The name and the state's version are the same in both
 * versions of the program: v2 takes over v1's state.
 */
KVMBPF_DEVICE(demo, .compatible = "kvmbpf,demo",
	      .regions = { KVMBPF_MMIO(DEMO_REGION_SIZE) }, .irqs = 1, .version = 1);

/*
 * The state. Plain additions suffice: the kernel calls a device's programs one
 * at a time.
 */
__u64 reads;		/* answered reads */
__u64 writes;		/* answered writes */
__u64 declined;		/* declined accesses */
__u64 doorbells;	/* writes to DEMO_REG_DOORBELL */
__u64 irqs;		/* interrupts that were raised */
__u64 counter;		/* reads of DEMO_REG_COUNTER */

/* The answer to the read of COUNTER with this number; see demo_regs.h. */
static __always_inline __u64 demo_reply(__u64 number)
{
	__u64 sum = DEMO_VERSION ^ DEMO_REPLY_CHECKSUM_SEED;

	number &= DEMO_REPLY_NUMBER_MASK;
	sum ^= (number ^ number >> 8 ^ number >> 16 ^ number >> 24 ^
		number >> 32 ^ number >> 40) & 0xff;
	return (__u64)DEMO_VERSION << DEMO_REPLY_VERSION_SHIFT |
	       sum << DEMO_REPLY_CHECKSUM_SHIFT | number;
}

/* A register is its offset and its width: anything else reads 0. */
#define DEMO_ACCESS(offset, len) ((offset) << 8 | (len))

KVMBPF_READ(struct kvmbpf_access *acc)
{
	if (acc->offset >= DEMO_REG_DECLINED) {
		declined++;
		return KVMBPF_DECLINE;
	}

	switch (DEMO_ACCESS(acc->offset, acc->len)) {
	case DEMO_ACCESS(DEMO_REG_ID, 4):
		acc->value = DEMO_ID;
		break;
	case DEMO_ACCESS(DEMO_REG_VERSION, 4):
		acc->value = DEMO_VERSION;
		break;
	case DEMO_ACCESS(DEMO_REG_COUNTER, 8):
		acc->value = demo_reply(++counter);
		break;
	case DEMO_ACCESS(DEMO_REG_DOORBELLS, 8):
		acc->value = doorbells;
		break;
	default:
		acc->value = 0;
		break;
	}
	reads++;
	return 0;
}

KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	if (acc->offset >= DEMO_REG_DECLINED) {
		declined++;
		return KVMBPF_DECLINE;
	}

	writes++;
	if (acc->offset == DEMO_REG_DOORBELL && acc->len == 4) {
		doorbells++;
		/*
		 * The write is answered even where the interrupt cannot be
		 * raised, as on hardware; irqs then stays behind doorbells.
		 */
		if (kvmbpf_irq(acc, 0, 1) == 0)
			irqs++;
	}
	return 0;
}
