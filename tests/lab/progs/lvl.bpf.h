/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One interrupt line with two reasons; the guest acknowledges one at a time.
 * LEVEL_IRQS is defined by the objects that include this file.
 */
#include <kvmbpf.bpf.h>

KVMBPF_DEVICE(lvl, .compatible = "acme,lvl", .regions = { KVMBPF_MMIO_AT(0xfef00000, 0x1000) },
	      .irqs = 1, .level_irqs = LEVEL_IRQS);

__u32 pending, acks, reads, isr;

KVMBPF_READ(struct kvmbpf_access *acc)
{
	reads++;
	acc->value = pending;
	return 0;
}

KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	switch (acc->offset) {
	case 0: /* raise reasons */
		pending |= acc->value;
		break;
	case 4: /* acknowledge */
		pending &= ~acc->value;
		acks++;
		break;
	case 8: /* what the guest counts */
		isr = acc->value;
		return 0;
	}
	return kvmbpf_irq(acc, 0, pending != 0);
}
