/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The demo device's registers and its ring in guest memory: shared by its eBPF
 * programs, its guest driver, programs in the guest, and tests.
 *
 * One page of MMIO and two interrupts: 0 is edge-triggered and belongs to the
 * doorbell, 1 is level-triggered and tells of events. Little endian.
 */
#ifndef KVMBPF_DEMO_REGS_H
#define KVMBPF_DEMO_REGS_H

#include <linux/stddef.h>
#include <linux/types.h>

#define DEMO_REG_ID		0x00	/* RO, 4 bytes: DEMO_ID */
#define DEMO_REG_VERSION	0x04	/* RO, 4 bytes: 1, 2, ... the program that answers */
#define DEMO_REG_COUNTER	0x08	/* RO, 8 bytes: a DEMO_REPLY_*, counts its own reads */
#define DEMO_REG_DOORBELL	0x10	/* WO, 4 bytes: any write raises interrupt 0 once */
#define DEMO_REG_CONTROL	0x14	/* WO, 4 bytes: DEMO_CONTROL_* */
#define DEMO_REG_DOORBELLS	0x18	/* RO, 8 bytes: doorbell writes since the reset */
#define DEMO_REG_EVENTS		0x20	/* RW, 4 bytes: DEMO_EVENT_*; writing a 1 clears it */
#define DEMO_REG_ENABLE		0x24	/* RW, 4 bytes: which events raise interrupt 1 */
#define DEMO_REG_TICK_US	0x28	/* RW, 4 bytes: period of DEMO_EVENT_TICK, 0: off */
#define DEMO_REG_TICKS		0x30	/* RO, 8 bytes: ticks since the reset */
#define DEMO_REG_RING_BASE	0x38	/* RW, 8 bytes: the ring's address in guest memory */
#define DEMO_REG_RING_SIZE	0x40	/* RW, 4 bytes: its records, a power of 2; 0: off */
#define DEMO_REG_RING_FILL	0x44	/* WO, 4 bytes: how many records more are wanted */
#define DEMO_REG_RING_TAIL	0x48	/* RW, 4 bytes: how many records the driver took */
#define DEMO_REG_RING_STATUS	0x4c	/* RO, 4 bytes: DEMO_RING_* */
#define DEMO_REG_DECLINED	0x80	/* every offset from here on is declined */
#define DEMO_REGION_SIZE	0x1000

#define DEMO_ID			0x6b766d62	/* "kvmb", big end first */

#define DEMO_IRQ_DOORBELL	0	/* edge */
#define DEMO_IRQ_EVENTS		1	/* level: up while an enabled event is pending */

#define DEMO_CONTROL_RESET	0x1	/* as after power on, but for RING_BASE */

#define DEMO_EVENT_RING		0x1	/* the ring has new records, or has failed */
#define DEMO_EVENT_TICK		0x2	/* the tick's period went by */
#define DEMO_EVENTS_ALL		(DEMO_EVENT_RING | DEMO_EVENT_TICK)

#define DEMO_TICK_US_MIN	1000	/* a shorter period becomes this one */

/*
 * One read of COUNTER tells which version answered, which read it was, and
 * that both belong together: version in bits 63:56, checksum in bits 55:48,
 * generation in bits 47:32, the read's number in bits 31:0. The generation is
 * how often the version that answers has changed. Numbers begin with 1; both
 * wrap. The checksum is the XOR of the version, the other six bytes, and 0x5a.
 */
#define DEMO_REPLY_VERSION_SHIFT	56
#define DEMO_REPLY_CHECKSUM_SHIFT	48
#define DEMO_REPLY_GENERATION_SHIFT	32
#define DEMO_REPLY_CHECKSUM_SEED	0x5a

static __always_inline __u64 demo_reply(__u8 version, __u16 generation, __u32 number)
{
	__u64 fields = (__u64)generation << DEMO_REPLY_GENERATION_SHIFT | number;
	__u64 sum = fields ^ fields >> 24;

	sum ^= sum >> 8 ^ sum >> 16;
	sum = (sum ^ version ^ DEMO_REPLY_CHECKSUM_SEED) & 0xff;
	return (__u64)version << DEMO_REPLY_VERSION_SHIFT |
	       sum << DEMO_REPLY_CHECKSUM_SHIFT | fields;
}

/*
 * The ring. To set it up, while RING_STATUS has neither ON nor BUSY: write
 * RING_BASE, then RING_SIZE. The device writes records, then the head, then
 * raises DEMO_EVENT_RING. Both indices count records since the set-up, and
 * wrap at 2^32; record i is at place i % size. To end it: write RING_SIZE 0,
 * and wait until RING_STATUS has no BUSY; the memory is the driver's again then.
 */
#define DEMO_RING_MIN		2	/* records */
#define DEMO_RING_MAX		256
#define DEMO_RING_FILL_MAX	(1 << 24)	/* more is never wanted at a time */

#define DEMO_RING_ON		0x1
#define DEMO_RING_BUSY		0x2	/* the device may be writing to it */
#define DEMO_RING_FAILED	0x4	/* guest memory could not be written */

struct demo_record {
	__le64 sequence;	/* 1, 2, ... since the set-up */
	__le64 time_ns;		/* the host's CLOCK_MONOTONIC */
	__le32 version;		/* of the program that wrote it */
	__le32 ticks;		/* TICKS, its low half */
	__le32 reserved;	/* 0 */
	__le32 checksum;	/* of the rest, by demo_checksum() */
};

struct demo_ring_memory {
	__le32 head;		/* how many records the device wrote */
	__le32 reserved[7];
	struct demo_record records[];
};

/* FNV-1a over 32-bit words. A record's are its first seven. */
static __always_inline __u32 demo_checksum(const __u32 *words, unsigned int count)
{
	__u32 sum = 0x811c9dc5;
	unsigned int i;

	for (i = 0; i < count; i++)
		sum = (sum ^ words[i]) * 0x01000193;
	return sum;
}

#endif /* KVMBPF_DEMO_REGS_H */
