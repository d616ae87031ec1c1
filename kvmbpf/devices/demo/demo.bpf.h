/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The demo device: the example to copy
 *
 * It has one of everything that a device may have: registers, an interrupt of
 * each kind, a timer, a ring that it fills in guest memory, a reset, a property
 * for the guest's driver, messages, and state that is kept over an update.
 * Its registers are in demo_regs.h, and README.md says how to take it apart.
 *
 * demo_v1.bpf.c and demo_v2.bpf.c define DEMO_VERSION and include this file, so
 * that one can replace the other in a running guest.
 *
 * Accesses from DEMO_REG_DECLINED on are declined and go to the VMM. Below
 * that, every access is answered: an offset that is no register reads 0, and so
 * does a register read at another width than its own; writes there do nothing.
 */
#ifndef DEMO_VERSION
#error "define DEMO_VERSION, 1 to 255, before including demo.bpf.h"
#endif

#include <kvmbpf.bpf.h>
#include "demo_regs.h"

/* ---- what it is ---------------------------------------------------------- */

/*
 * The version of the state's schema: raise it when a variable below changes its
 * meaning or its type. An update to an object of another version is refused.
 */
#define DEMO_STATE_VERSION 1

/* The name and the state's version are the same in all versions of the program. */
KVMBPF_DEVICE(demo, .compatible = "kvmbpf,demo",
	      .regions = { KVMBPF_MMIO(DEMO_REGION_SIZE) },
	      .irqs = 2, .level_irqs = 1 << DEMO_IRQ_EVENTS,
	      .version = DEMO_STATE_VERSION, .flags = KVMBPF_RESETS);

/*
 * Told to the guest by its device tree or ACPI table, read by the driver with
 * device_property_read_u32(): how large a ring to make.
 */
KVMBPF_PROPERTY("kvmbpf,ring-records", "<64>");

/* ---- its state ----------------------------------------------------------- */

/*
 * Global variables are the state; an update keeps them. For reads and writes of
 * registers plain assignments suffice: the kernel calls these programs one at a
 * time. Timers and works run beside them, so what they share with the programs
 * is changed by atomic operations, and read through NOW().
 */
#define NOW(variable) (*(const volatile typeof(variable) *)&(variable))

/* Host's own counts, for comparing with the guest's. No reset clears them. */
__u64 reads;		/* answered reads */
__u64 writes;		/* answered writes */
__u64 declined;		/* declined accesses */
__u64 irqs;		/* times that interrupt 0 was raised */
__u64 ring_events;	/* times that DEMO_EVENT_RING became pending; shared */
__u64 tick_events;	/* likewise DEMO_EVENT_TICK; shared */
__u64 resets;

/* Which program is at work. */
__u32 answering;	/* its DEMO_VERSION */
__u32 generation;	/* how often that has changed */
__u32 take_over;	/* timer and work may still be the old version's */

/* Registers. */
__u64 doorbells;
__u64 counter;
__u32 events;		/* shared */
__u32 enabled;
__u64 tick_ns;
__u64 ticks;		/* shared */

/* The ring; size is 0 while it is off. */
__u64 ring_base;	/* shared */
__u32 ring_size;	/* shared */
__u32 ring_tail;	/* shared */
__u32 ring_wanted;	/* shared */
__u32 ring_busy;	/* shared */
__u32 ring_failed;	/* shared */
__u32 ring_head;	/* the work's own, as is: */
__u64 ring_sequence;

/* ---- interrupts ---------------------------------------------------------- */

/* Make an event pending; return whether interrupt 1 must be up for it. */
static __always_inline int demo_event(__u32 event, __u64 *count)
{
	__u32 before = __sync_fetch_and_or(&events, event);

	if (!(before & event))
		__sync_fetch_and_add(count, 1);
	return (NOW(enabled) & event) != 0;
}

/*
 * After an access that changed events or enabled: set interrupt 1 to what they
 * say. A timer or a work may raise it at the same moment, and does so after it
 * has made its event pending: who lowers the line looks again.
 */
static __always_inline void demo_set_events_irq(struct kvmbpf_access *acc)
{
	__u32 pending = NOW(events) & enabled;

	kvmbpf_irq(acc, DEMO_IRQ_EVENTS, pending != 0);
	if (!pending && (NOW(events) & enabled))
		kvmbpf_irq(acc, DEMO_IRQ_EVENTS, 1);
}

/* ---- a timer ------------------------------------------------------------- */

KVMBPF_TIMER(tick)
{
	__u64 period = NOW(tick_ns);

	if (!period)
		return;
	__sync_fetch_and_add(&ticks, 1);
	if (demo_event(DEMO_EVENT_TICK, &tick_events))
		kvmbpf_irq_later(later, DEMO_IRQ_EVENTS, 1);
	kvmbpf_timer_start(later, tick, period);
}

/* The period that the guest asks for; it must not drown the host in timers. */
static __always_inline void demo_set_tick(__u32 us)
{
	if (us && us < DEMO_TICK_US_MIN)
		us = DEMO_TICK_US_MIN;
	tick_ns = us * 1000ull;
	if (!us)
		kvmbpf_timer_cancel(tick);
}

/* ---- the ring, filled by a work because guest memory may have to be waited for */

static __always_inline int demo_write_record(struct kvmbpf_later *later, __u64 base, __u32 size)
{
	struct demo_record record = {
		.sequence = ring_sequence + 1,
		.time_ns = bpf_ktime_get_ns(),
		.version = DEMO_VERSION,
		.ticks = NOW(ticks),
	};
	__u64 place = base + sizeof(struct demo_ring_memory) +
		      (ring_head & (size - 1)) * sizeof(record);

	record.checksum = demo_checksum((const __u32 *)&record, 7);
	return kvmbpf_guest_write_later(later, place, &record, sizeof(record));
}

/* Whether to write one record more. The guest may end the ring at any moment. */
static __always_inline int demo_may_fill(__u32 size)
{
	return NOW(ring_size) == size && NOW(ring_wanted) &&
	       ring_head - NOW(ring_tail) < size && !NOW(ring_failed);
}

/* As many records go into the ring in one go. */
#define DEMO_FILL_BATCH 16

/* What the loop over the records works with, and how far it got. */
struct demo_batch {
	struct kvmbpf_later *later;
	__u64 base;
	__u32 size;
	__u32 written;
	int error;
};

/* One round of it, for bpf_loop(): the verifier walks it once, however many there are. */
static long demo_fill_one(__u32 round KVMBPF_UNUSED, void *context)
{
	struct demo_batch *batch = context;

	if (!batch->size || !demo_may_fill(batch->size))
		return 1;
	batch->error = demo_write_record(batch->later, batch->base, batch->size);
	if (batch->error)
		return 1;
	ring_sequence++;
	ring_head++;
	__sync_fetch_and_add(&ring_wanted, -1);
	batch->written++;
	return 0;
}

/*
 * Write the records that are wanted and have room, then the head, then tell the
 * guest. What finds no room is written when the driver has moved the tail.
 */
KVMBPF_WORK(fill)
{
	struct demo_batch batch = { .later = later };
	int error;

	/*
	 * From here on the guest sees BUSY; and if it saw none after it ended the
	 * ring, size is 0 here. Base stays as it is while there is a size, or BUSY.
	 */
	__sync_lock_test_and_set(&ring_busy, 1);
	batch.size = __sync_fetch_and_add(&ring_size, 0);
	batch.base = NOW(ring_base);
	bpf_loop(DEMO_FILL_BATCH, demo_fill_one, &batch, 0);
	error = batch.error;
	if (batch.written && !error)
		error = kvmbpf_guest_write_later(later, batch.base, &ring_head, sizeof(ring_head));
	if (error) {
		__sync_lock_test_and_set(&ring_failed, 1);
		kvmbpf_log("ring at %llx: guest memory: error %d", batch.base, error);
	}
	__sync_lock_test_and_set(&ring_busy, 0);

	if ((batch.written || error) && demo_event(DEMO_EVENT_RING, &ring_events))
		kvmbpf_irq_later(later, DEMO_IRQ_EVENTS, 1);
	if (batch.written == DEMO_FILL_BATCH && !error)
		kvmbpf_work_start(later, fill); /* there may be more to do */
}

/* Begin with a new ring, or end it. One that is on, or busy, is not set up anew. */
static __always_inline void demo_set_ring_size(__u32 size)
{
	if (!size) {
		__sync_lock_test_and_set(&ring_size, 0);
		return;
	}
	if (ring_size || NOW(ring_busy) || size < DEMO_RING_MIN || size > DEMO_RING_MAX ||
	    (size & (size - 1)))
		return;
	ring_head = 0;
	ring_tail = 0;
	ring_sequence = 0;
	ring_wanted = 0;
	ring_failed = 0;
	__sync_lock_test_and_set(&ring_size, size); /* last: a work may look at it now */
	kvmbpf_log("ring at %llx: %u records", ring_base, size);
}

static __always_inline void demo_want(__u32 more)
{
	__u32 room = DEMO_RING_FILL_MAX - NOW(ring_wanted);

	if (ring_size)
		__sync_fetch_and_add(&ring_wanted, more < room ? more : room);
}

static __always_inline __u32 demo_ring_status(void)
{
	return (ring_size ? DEMO_RING_ON : 0) | (NOW(ring_busy) ? DEMO_RING_BUSY : 0) |
	       (NOW(ring_failed) ? DEMO_RING_FAILED : 0);
}

/* ---- reset and update ---------------------------------------------------- */

/* As after power on. A work that is writing to the ring sees that it is off. */
static __always_inline void demo_reset(struct kvmbpf_access *acc)
{
	demo_set_tick(0);
	demo_set_ring_size(0);
	ring_tail = 0;
	ring_failed = 0;
	enabled = 0;
	__sync_fetch_and_and(&events, 0);
	demo_set_events_irq(acc);
	ticks = 0;
	doorbells = 0;
	counter = 0;
	resets++;
	kvmbpf_log("reset %llu", resets);
}

/* The guest was reset: the VMM, or `kvmbpf`, says so. */
KVMBPF_RESET(struct kvmbpf_access *acc)
{
	demo_reset(acc);
	return KVMBPF_ANSWERED;
}

/* The first access that this version answers. */
static __always_inline void demo_arrive(void)
{
	if (answering == DEMO_VERSION)
		return;
	if (answering) {
		generation++;
		take_over = 1;
		kvmbpf_log("version %u took over from %u", DEMO_VERSION, answering);
	}
	answering = DEMO_VERSION;
}

/*
 * Start the timer and the work as a write asks for it. After an update they are
 * the old version's until this one starts them: the first write does that too.
 * One place for each in the program: the verifier walks their bodies from each.
 */
static __always_inline void demo_start(struct kvmbpf_access *acc, int wants_tick, int wants_fill)
{
	if ((wants_tick || take_over) && tick_ns && kvmbpf_timer_start(acc, tick, tick_ns))
		kvmbpf_log("no timer: the tick stays off");
	if ((wants_fill || take_over) && ring_size && NOW(ring_wanted) &&
	    kvmbpf_work_start(acc, fill))
		ring_failed = 1; /* a host that has no works: RING_STATUS says so */
	take_over = 0;
}

/* ---- the guest's accesses ------------------------------------------------ */

/* A register is its offset and its width: anything else reads 0. */
#define DEMO_ACCESS(offset, len) ((offset) << 8 | (len))

static __always_inline __u64 demo_read(struct kvmbpf_access *acc)
{
	switch (DEMO_ACCESS(acc->offset, acc->len)) {
	case DEMO_ACCESS(DEMO_REG_ID, 4):
		return DEMO_ID;
	case DEMO_ACCESS(DEMO_REG_VERSION, 4):
		return DEMO_VERSION;
	case DEMO_ACCESS(DEMO_REG_COUNTER, 8):
		return demo_reply(DEMO_VERSION, generation, ++counter);
	case DEMO_ACCESS(DEMO_REG_DOORBELLS, 8):
		return doorbells;
	case DEMO_ACCESS(DEMO_REG_EVENTS, 4):
		return NOW(events);
	case DEMO_ACCESS(DEMO_REG_ENABLE, 4):
		return enabled;
	case DEMO_ACCESS(DEMO_REG_TICK_US, 4):
		return tick_ns / 1000;
	case DEMO_ACCESS(DEMO_REG_TICKS, 8):
		return NOW(ticks);
	case DEMO_ACCESS(DEMO_REG_RING_BASE, 8):
		return ring_base;
	case DEMO_ACCESS(DEMO_REG_RING_SIZE, 4):
		return ring_size;
	case DEMO_ACCESS(DEMO_REG_RING_TAIL, 4):
		return ring_tail;
	case DEMO_ACCESS(DEMO_REG_RING_STATUS, 4):
		return demo_ring_status();
	default:
		return 0;
	}
}

KVMBPF_READ(struct kvmbpf_access *acc)
{
	demo_arrive();
	if (acc->offset >= DEMO_REG_DECLINED) {
		declined++;
		return KVMBPF_DECLINE;
	}
	reads++;
	acc->value = demo_read(acc);
	return KVMBPF_ANSWERED;
}

static __always_inline void demo_write(struct kvmbpf_access *acc)
{
	int wants_tick = 0, wants_fill = 0;

	switch (DEMO_ACCESS(acc->offset, acc->len)) {
	case DEMO_ACCESS(DEMO_REG_DOORBELL, 4):
		doorbells++;
		/*
		 * The write is answered even where the interrupt cannot be
		 * raised, as on hardware; irqs then stays behind doorbells.
		 */
		if (kvmbpf_irq(acc, DEMO_IRQ_DOORBELL, 1) == 0)
			irqs++;
		break;
	case DEMO_ACCESS(DEMO_REG_CONTROL, 4):
		if (acc->value & DEMO_CONTROL_RESET)
			demo_reset(acc);
		break;
	case DEMO_ACCESS(DEMO_REG_EVENTS, 4):
		__sync_fetch_and_and(&events, ~(__u32)acc->value);
		demo_set_events_irq(acc);
		break;
	case DEMO_ACCESS(DEMO_REG_ENABLE, 4):
		enabled = acc->value & DEMO_EVENTS_ALL;
		demo_set_events_irq(acc);
		break;
	case DEMO_ACCESS(DEMO_REG_TICK_US, 4):
		demo_set_tick(acc->value);
		wants_tick = 1;
		break;
	case DEMO_ACCESS(DEMO_REG_RING_BASE, 8):
		if (!ring_size && !NOW(ring_busy))
			ring_base = acc->value;
		break;
	case DEMO_ACCESS(DEMO_REG_RING_SIZE, 4):
		demo_set_ring_size(acc->value);
		break;
	case DEMO_ACCESS(DEMO_REG_RING_FILL, 4):
		demo_want(acc->value);
		wants_fill = 1;
		break;
	case DEMO_ACCESS(DEMO_REG_RING_TAIL, 4):
		ring_tail = acc->value;
		wants_fill = 1; /* there is room now for what waits */
		break;
	}
	demo_start(acc, wants_tick, wants_fill);
}

KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	demo_arrive();
	if (acc->offset >= DEMO_REG_DECLINED) {
		declined++;
		return KVMBPF_DECLINE;
	}
	writes++;
	demo_write(acc);
	return KVMBPF_ANSWERED;
}
