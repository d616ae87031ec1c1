/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the fuzzer and its device programs share: the variable through which
 * the one steers the others, and through which it sees that they ran.
 *
 * Every object has one, mapped into all of the fuzzer's processes. Nothing
 * protects it: a program that reads half an update is as good as any.
 */
#ifndef FUZZ_STEER_H
#define FUZZ_STEER_H

#define FUZZ_DATA_BYTES 64

/* How often each callback ran. */
enum fuzz_run {
	FUZZ_READ,
	FUZZ_WRITE,
	FUZZ_RESET,
	FUZZ_LATER, /* the callback of a timer or of a work */
	FUZZ_RUNS,
};

struct fuzz_steer {
	__s32 result; /* of read and write */
	__s32 reset_result;
	__u32 irq;
	__u32 level;
	__u32 vcpu;
	__u32 len; /* of an access to guest memory */
	__u32 spins; /* rounds of a loop that takes time */
	__u32 clamp_min;
	__u32 clamp_max;
	__u32 choice; /* among what the program can do */
	__u64 gpa;
	__u64 answer;
	__u64 delay_ns;
	__u64 runs[FUZZ_RUNS];
};

#endif /* FUZZ_STEER_H */
