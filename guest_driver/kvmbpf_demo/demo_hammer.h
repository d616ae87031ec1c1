/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The demo device's driver: what the parts of the hammer share.
 *
 * demo_hammer.c	the threads, and their run
 * demo_hammer_files.c	the files in sysfs and debugfs
 */
#ifndef KVMBPF_DEMO_HAMMER_H
#define KVMBPF_DEMO_HAMMER_H

#include <linux/completion.h>
#include <linux/types.h>

#include "demo_seen.h"
#include "kvmbpf_demo.h"

struct task_struct;

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

/* demo_hammer.c */
int demo_hammer_run(struct demo *demo, u64 count);

#endif /* KVMBPF_DEMO_HAMMER_H */
