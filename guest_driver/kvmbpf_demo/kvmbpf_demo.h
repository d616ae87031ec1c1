/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The demo device's driver: what its parts share.
 *
 * demo_main.c		binds the driver, takes interrupts
 * demo_life.c		the references to a device, and the end of its binding
 * demo_registers.c	sysfs files that read and write registers
 * demo_ring.c		the ring that the device fills in this guest's memory
 * demo_chardev.c	/dev/kvmbpf-demoN, which hands its records on
 * demo_hammer.c	reads COUNTER from many CPUs at once
 * demo_seen.c		checks each reply, and all replies together
 * demo_hammer_files.c	the files that start this, and show what was seen
 * demo_histogram.c	what a latency was, how often
 * demo_selftest.c	how long one access takes
 */
#ifndef KVMBPF_DEMO_H
#define KVMBPF_DEMO_H

#include <linux/atomic.h>
#include <linux/io.h>
#include <linux/kfifo.h>
#include <linux/kref.h>
#include <linux/miscdevice.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>

#include "demo_regs.h"

struct dentry;
struct device;
struct platform_device;

#define DEMO_QUEUE_RECORDS	64

/**
 * struct demo_ring - the ring in guest memory, and what came out of it
 * @memory: the ring, coherent; NULL: the device has no ring
 * @dma: its address for the device
 * @size: how many records it holds
 * @lock: guards all below it
 * @tail: how many records were taken since the set-up
 * @sequence: of the last record
 * @records: how many were taken and were right
 * @lost: how many sequence numbers were passed over
 * @wrong: records with a bad checksum, and bad heads
 * @queue: records for readers of the character device
 * @readers: how many have it open; without one, records are only checked
 * @readable: for those who wait for @queue or for the device's end
 */
struct demo_ring {
	struct demo_ring_memory *memory;
	dma_addr_t dma;
	u32 size;
	struct mutex lock; /* guards all below it */
	u32 tail;
	u64 sequence;
	u64 records;
	u64 lost;
	u64 wrong;
	DECLARE_KFIFO(queue, struct demo_record, DEMO_QUEUE_RECORDS);
	unsigned int readers;
	wait_queue_head_t readable;
};

struct demo_hammered;

/**
 * struct demo_hammer - reads of COUNTER from many CPUs
 * @run_lock: one run at a time; COUNTER is the run's own while it is held
 * @threads: how many the next run has
 * @result_lock: guards @result
 * @result: what the last run saw, or NULL
 */
struct demo_hammer {
	struct mutex run_lock; /* one run at a time */
	unsigned int threads;
	struct mutex result_lock; /* guards result */
	struct demo_hammered *result;
};

/**
 * struct demo_selftest - how long one access takes
 * @lock: guards the rest; held while it is measured
 * @samples: how many accesses the next run makes
 * @measured: whether there was a run
 * @min_ns: the shortest access of the last run
 * @median_ns: half of them took at most this
 * @p99_ns: 99 of 100 took at most this
 * @max_ns: the longest
 */
struct demo_selftest {
	struct mutex lock; /* guards the rest */
	unsigned int samples;
	bool measured;
	u64 min_ns;
	u64 median_ns;
	u64 p99_ns;
	u64 max_ns;
};

/**
 * struct demo - one bound device
 * @dev: the device; not for those who only hold a reference
 * @refs: the driver has one, and each open file of the character device
 * @base: its registers
 * @irq: of the doorbell; 0: none
 * @events_irq: of the events; 0: none
 * @stopping: the driver is being unbound: who waits, or works long, gives up
 * @reads: accesses made here
 * @writes: likewise
 * @interrupts: doorbell interrupts taken
 * @ring_events: events of the ring that were seen and cleared
 * @tick_events: events of the tick likewise
 * @doorbell_lock: one who rings at a time: the next interrupt is its own
 * @rung: for who waits for that interrupt
 * @ring: see there
 * @misc: the character device
 * @index: its number
 * @hammer: see there
 * @selftest: see there
 * @debugfs: the device's directory
 */
struct demo {
	struct device *dev;
	struct kref refs;
	void __iomem *base;
	int irq;
	int events_irq;
	bool stopping;
	atomic64_t reads;
	atomic64_t writes;
	atomic64_t interrupts;
	atomic64_t ring_events;
	atomic64_t tick_events;
	struct mutex doorbell_lock; /* one who rings at a time */
	wait_queue_head_t rung;
	struct demo_ring ring;
	struct miscdevice misc;
	int index;
	struct demo_hammer hammer;
	struct demo_selftest selftest;
	struct dentry *debugfs;
};

/* Every access to the device goes through these four, and is counted. */

static inline u32 demo_readl(struct demo *demo, unsigned int reg)
{
	atomic64_inc(&demo->reads);
	return readl(demo->base + reg);
}

static inline u64 demo_readq(struct demo *demo, unsigned int reg)
{
	atomic64_inc(&demo->reads);
	return readq(demo->base + reg);
}

static inline void demo_writel(struct demo *demo, unsigned int reg, u32 value)
{
	atomic64_inc(&demo->writes);
	writel(value, demo->base + reg);
}

static inline void demo_writeq(struct demo *demo, unsigned int reg, u64 value)
{
	atomic64_inc(&demo->writes);
	writeq(value, demo->base + reg);
}

static inline bool demo_stopping(struct demo *demo)
{
	return READ_ONCE(demo->stopping);
}

/* demo_life.c */
void demo_get(struct demo *demo);
void demo_put(struct demo *demo);
void demo_stop(struct demo *demo);

/* demo_registers.c */
extern const struct attribute_group demo_registers_group;

/* demo_ring.c */
extern const struct attribute_group demo_ring_group;
void demo_ring_init(struct demo *demo);
int demo_ring_setup(struct demo *demo);
void demo_ring_consume(struct demo *demo);
void demo_ring_event(struct demo *demo);

/* demo_chardev.c */
int demo_chardev_add(struct demo *demo);

/* demo_hammer.c */
void demo_hammer_init(struct demo *demo);
void demo_hammer_free(struct demo *demo);

/* demo_hammer_files.c */
extern const struct attribute_group demo_hammer_group;
int demo_hammer_add(struct demo *demo);

/* demo_histogram.c */

/*
 * Exact below 16; above that 16 buckets for each power of 2, so that a bucket
 * is 1/16 of its value wide at most.
 */
#define DEMO_HISTOGRAM_BUCKETS	(16 * 61)

struct demo_histogram {
	u64 count;
	u64 min;
	u64 max;
	u64 buckets[DEMO_HISTOGRAM_BUCKETS];
};

void demo_histogram_add(struct demo_histogram *h, u64 value);
void demo_histogram_merge(struct demo_histogram *h,
			  const struct demo_histogram *other);
u64 demo_histogram_quantile(const struct demo_histogram *h,
			    unsigned int per_mille);
u64 demo_histogram_bucket_start(unsigned int bucket);

/* demo_selftest.c */
extern const struct attribute_group demo_selftest_group;
void demo_selftest_init(struct demo *demo);

#endif /* KVMBPF_DEMO_H */
