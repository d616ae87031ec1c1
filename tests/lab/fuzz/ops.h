/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The operations that the fuzzer makes, and what they know of their surroundings.
 *
 * An operation draws its arguments, makes one system call that counts, checks
 * what came of it, and returns that: 0 or more, a negative error number, or
 * OP_SKIP when it found nothing to work on.
 */
#ifndef FUZZ_OPS_H
#define FUZZ_OPS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "guest.h"
#include "pool.h"
#include "random.h"

#define OP_SKIP INT_MIN

/* Descriptors of devices that maps name beforehand. */
#define OPS_DEVICE_FD  900
#define OPS_DEVICE_FDS 4

struct op {
	const char *name;
	unsigned int weight;
	int (*make)(struct rng *rng);
	bool in_child; /* a child of the worker may make it: it allocates nothing */
};

extern const struct op vm_ops[], device_ops[], bpf_ops[], process_ops[];

/* Of this process. */
extern struct guest_ram homes[POOL_HOMES];
extern bool in_child;
/* Of the run. */
extern int kvm_fd;
extern const char *pin_folder;
extern const char *object_folder;

int checked_ioctl(int fd, unsigned long request, void *argument);
void check_errno(const char *what, int r, const int *allowed);
void make_any_op(struct rng *rng);
void signal_any_thread(struct rng *rng);

/* Error numbers that an operation may give, for the call that it is written in. */
#define ERRNOS(...) ((const int[]){ __VA_ARGS__, -1 })

#endif /* FUZZ_OPS_H */
