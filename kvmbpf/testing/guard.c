// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Call a natively compiled device, and live on when it crashes.
 *
 * Problem: BPF's verifier refuses a program that would follow a NULL pointer;
 * natively it is a signal, and the end of the whole test run.
 * Approach: a handler jumps back to where the device was called. Between that
 * place and the crash are frames of the device only: what the device calls back
 * touches the device's memory by /proc/self/mem, and calls the device through
 * here again, with a place of its own.
 * Obsolete when: never.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

struct crash {
	int32_t signal; /* 0: there was none */
	int32_t reserved;
	uint64_t pc;
	uint64_t address;
};

struct place {
	sigjmp_buf jump;
	struct crash *crash;
};

static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP };
#define SIGNALS (sizeof(signals) / sizeof(signals[0]))

static struct sigaction before[SIGNALS];
static _Thread_local struct place *place;

static uint64_t pc_of(const ucontext_t *context)
{
#if defined(__x86_64__)
	return context->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
	return context->uc_mcontext.pc;
#else
	(void)context;
	return 0;
#endif
}

/* Another thread's signals are none of ours: let them happen again as before. */
static void give_back(void)
{
	size_t i;

	for (i = 0; i < SIGNALS; i++)
		sigaction(signals[i], &before[i], NULL);
}

static void crashed(int signal, siginfo_t *info, void *context)
{
	if (!place) {
		give_back();
		return;
	}
	place->crash->signal = signal;
	place->crash->pc = pc_of(context);
	place->crash->address = (uintptr_t)info->si_addr;
	siglongjmp(place->jump, 1);
}

static void take_signals(void)
{
	struct sigaction action = {
		.sa_sigaction = crashed,
		.sa_flags = SA_SIGINFO | SA_ONSTACK,
	};
	size_t i;

	sigemptyset(&action.sa_mask);
	for (i = 0; i < SIGNALS; i++)
		sigaction(signals[i], &action, &before[i]);
}

/* Call a function of a device with up to 4 arguments; return what it returns. */
int64_t kvmbpf_guarded(void *function, void *a, void *b, void *c, void *d, struct crash *crash)
{
	int64_t (*call)(void *, void *, void *, void *) = function;
	struct place here = { .crash = crash };
	struct place *volatile outer = place;
	volatile int64_t result = 0;

	crash->signal = 0;
	if (!outer)
		take_signals();
	place = &here;
	if (!sigsetjmp(here.jump, 1))
		result = call(a, b, c, d);
	place = outer;
	if (!outer)
		give_back();
	return result;
}
