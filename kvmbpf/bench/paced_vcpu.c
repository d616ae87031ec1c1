// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A vCPU that makes batches of accesses, with a pause after each
 *
 * Problem: to see what an update does to accesses, a guest has to make them all
 * the time while the manager works. A loop in Python would be late by what the
 * interpreter takes, and on a host with one CPU a vCPU that never pauses lets the
 * manager do nothing, while one that is preempted measures who had the CPU.
 * Approach: the guest times its accesses itself and writes what it found into its
 * memory (kvmbpf/bench/paced_guest.py has its code). Here is the loop around
 * KVM_RUN: it takes the records of a batch over to where another process can see
 * them, and sleeps. Its thread is to be a real-time one, which nobody preempts in
 * a batch. A batch begins after one tick of the kernel's clock and is done before
 * the next: that interrupt would be the longest access of any run.
 * Obsolete when: never.
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>

#include <linux/kvm.h>

#define SECOND_NS 1000000000ull

/* What kvmbpf/bench/paced_guest.py calls, and what it returns besides -errno. */
#define PACED_VCPU_DONE         0
#define PACED_VCPU_UNKNOWN_EXIT 1

/* One access. Written by the guest, too. */
struct paced_record {
	uint64_t ticks; /* how long it took, by the guest's time stamp counter */
	uint64_t reply;
};

/* Shared with the process that started this one. */
struct paced_control {
	uint32_t stop;
	uint32_t batch; /* accesses of a batch */
	uint64_t pause_ns; /* after each */
	uint64_t tick_ns; /* between ticks; 0: whenever it comes */
	uint64_t room; /* records that fit */
	uint64_t count; /* accesses made; the records of the last `room` are there */
	uint64_t tsc_khz; /* of the guest's time stamp counter */
	struct paced_record records[];
};

int paced_vcpu_run(int vcpu_fd, struct kvm_run *run, uint16_t end_port,
		   const struct paced_record *batch, struct paced_control *control);

static uint64_t now_ns(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec * SECOND_NS + time.tv_nsec;
}

static void sleep_ns(uint64_t ns)
{
	struct timespec time = { .tv_sec = ns / SECOND_NS, .tv_nsec = ns % SECOND_NS };

	nanosleep(&time, NULL);
}

/*
 * Return when in its period the tick comes, or a little later: the coarse clock stands
 * still between two. Where the kernel leaves ticks out it is looked for at most a while.
 */
static uint64_t tick_phase(uint64_t tick_ns)
{
	uint64_t before = now_ns(CLOCK_MONOTONIC_COARSE);
	uint64_t end = now_ns(CLOCK_MONOTONIC) + 4 * tick_ns;

	while (now_ns(CLOCK_MONOTONIC_COARSE) == before && now_ns(CLOCK_MONOTONIC) < end)
		continue;
	return now_ns(CLOCK_MONOTONIC) % tick_ns;
}

/*
 * Sleep until there is time for a batch before the next tick. One that is half as long
 * as the time between two, or longer, begins at once.
 */
static void await_room(uint64_t tick_ns, uint64_t phase, uint64_t batch_ns)
{
	uint64_t since, margin = tick_ns / 16;

	while (tick_ns && batch_ns < tick_ns / 2) {
		since = (now_ns(CLOCK_MONOTONIC) + tick_ns - phase) % tick_ns;
		if (since + batch_ns + margin < tick_ns)
			return;
		sleep_ns(tick_ns - since + margin);
	}
}

/* Make batches until control->stop. */
int paced_vcpu_run(int vcpu_fd, struct kvm_run *run, uint16_t end_port,
		   const struct paced_record *batch, struct paced_control *control)
{
	uint64_t begin, phase, batch_ns = 0;
	uint32_t i;

	/* A real-time process that nobody stops must not be left behind. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -errno;
	phase = control->tick_ns ? tick_phase(control->tick_ns) : 0;
	while (!__atomic_load_n(&control->stop, __ATOMIC_ACQUIRE)) {
		await_room(control->tick_ns, phase, 2 * batch_ns);
		begin = now_ns(CLOCK_MONOTONIC);
		if (ioctl(vcpu_fd, KVM_RUN, 0) < 0)
			return -errno;
		if (run->exit_reason != KVM_EXIT_IO || run->io.port != end_port)
			return PACED_VCPU_UNKNOWN_EXIT;
		batch_ns = now_ns(CLOCK_MONOTONIC) - begin;
		for (i = 0; i < control->batch; i++)
			control->records[(control->count + i) % control->room] = batch[i];
		__atomic_store_n(&control->count, control->count + control->batch,
				 __ATOMIC_RELEASE);
		sleep_ns(control->pause_ns);
	}
	return PACED_VCPU_DONE;
}
