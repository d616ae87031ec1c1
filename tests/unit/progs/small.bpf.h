/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small device: registers, one interrupt, six variables, two versions.
 *
 * What the readers of objects are tested with. It is called demo, and has the
 * first registers of the device of that name.
 */
#ifndef DEMO_VERSION
#error "define DEMO_VERSION, 1 to 255, before including small.bpf.h"
#endif

#include <kvmbpf.bpf.h>

#define DEMO_REG_ID	   0x00
#define DEMO_REG_VERSION   0x04
#define DEMO_REG_COUNTER   0x08
#define DEMO_REG_DOORBELL  0x10
#define DEMO_REG_DOORBELLS 0x18
#define DEMO_REG_DECLINED  0x80
#define DEMO_REGION_SIZE   0x1000
#define DEMO_ID		   0x6b766d62

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
		acc->value = ++counter;
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
