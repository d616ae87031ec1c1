/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The demo device's driver: what the parts of the hammer share.
 *
 * demo_hammer.c	the threads, and their run
 * demo_seen.c		what a reply is checked for, and what all replies together are
 * demo_hammer_files.c	the files in sysfs and debugfs
 */
#ifndef KVMBPF_DEMO_HAMMER_H
#define KVMBPF_DEMO_HAMMER_H

#include <linux/completion.h>
#include <linux/types.h>

#include "kvmbpf_demo.h"

struct task_struct;

/* What was seen. Numbers are relative to the run's begin, so 1 is the first. */
struct demo_seen {
	u64 reads;
	u64 wrong; /* the checksum did not match: the rest is not looked at */
	u64 back; /* the generation, or the number, was below the last one */
	u64 mixed; /* another version in the same generation */
	u64 changes; /* of the generation */
	u64 number_sum;
	u64 square_sum;
	u32 last; /* and highest */
	u16 generation;
	u8 version;
	struct demo_histogram latency;
};

struct demo_worker {
	struct demo_hammered *run;
	struct task_struct *task;
	unsigned int cpu;
	struct demo_seen seen;
};

struct demo_hammered {
	struct demo *demo;
	u64 count; /* reads that each thread makes */
	u64 begin; /* the reply before the first */
	bool stop;
	atomic_t working;
	struct completion ended;
	struct demo_seen all; /* once it has ended */
	unsigned int threads;
	struct demo_worker workers[];
};

static inline u8 demo_version(u64 reply)
{
	return reply >> DEMO_REPLY_VERSION_SHIFT;
}

static inline u16 demo_generation(u64 reply)
{
	return reply >> DEMO_REPLY_GENERATION_SHIFT;
}

/* demo_hammer.c */
int demo_hammer_run(struct demo *demo, u64 count);

/* demo_seen.c */
void demo_seen_begin(struct demo_seen *seen, u64 begin);
void demo_seen_reply(struct demo_seen *seen, u64 reply, u64 begin);
void demo_seen_merge(struct demo_seen *all, const struct demo_seen *seen);
u64 demo_seen_lost(const struct demo_seen *all);

#endif /* KVMBPF_DEMO_HAMMER_H */
