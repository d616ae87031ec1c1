/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The demo device's registers: shared by its eBPF programs, its guest driver
 * and its tests.
 *
 * One page of MMIO, one edge-triggered interrupt. Little endian.
 */
#ifndef KVMBPF_DEMO_REGS_H
#define KVMBPF_DEMO_REGS_H

#define DEMO_REG_ID		0x00	/* RO, 4 bytes: DEMO_ID */
#define DEMO_REG_VERSION	0x04	/* RO, 4 bytes: 1, 2, ... the program that answers */
#define DEMO_REG_COUNTER	0x08	/* RO, 8 bytes: a DEMO_REPLY_*, counts its own reads */
#define DEMO_REG_DOORBELL	0x10	/* WO, 4 bytes: any write raises the interrupt once */
#define DEMO_REG_DOORBELLS	0x18	/* RO, 8 bytes: doorbell writes so far */
#define DEMO_REG_DECLINED	0x80	/* every offset from here on is declined */
#define DEMO_REGION_SIZE	0x1000

#define DEMO_ID			0x6b766d62	/* "kvmb", big end first */

/*
 * One read of COUNTER tells which version answered, which read it was, and
 * that both belong together: version in bits 63:56, checksum in bits 55:48,
 * the read's number (from 1, wrapping) in bits 47:0. The checksum is the XOR
 * of the version and the six bytes of the number, and 0x5a.
 */
#define DEMO_REPLY_NUMBER_MASK	0x0000ffffffffffffULL
#define DEMO_REPLY_VERSION_SHIFT	56
#define DEMO_REPLY_CHECKSUM_SHIFT	48
#define DEMO_REPLY_CHECKSUM_SEED	0x5a

#endif /* KVMBPF_DEMO_REGS_H */
