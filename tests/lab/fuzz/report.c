// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The shared report: counting from any process or thread, and its printing.
 */
#include <err.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "report.h"

struct report *report;

static const char *const event_names[NR_EVENTS] = {
	[EVENT_ANSWERED] = "device that answered, in its statistics",
	[EVENT_DECLINED] = "device that declined",
	[EVENT_FAULT] = "device with a fault of its program",
	[EVENT_SLOW_FAULT] = "device with a run that took too long",
	[EVENT_EJECTED] = "device with its programs ejected",
	[EVENT_ASSERTED] = "device that asserts an interrupt",
	[EVENT_REPLACED] = "device whose programs were replaced",
	[EVENT_FOREIGN] = "child that worked on inherited descriptors",
	[EVENT_KILLED] = "worker killed in the middle",
	[EVENT_EXITED] = "worker that exited in the middle",
	[EVENT_CLOSED] = "worker that closed all first",
};

void report_init(void)
{
	report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (report == MAP_FAILED)
		err(2, "mmap of the report");
}

static void count(uint64_t *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

/* Count an operation: 0 or more, or a negative error number. */
void report_result(unsigned int op, int result)
{
	count(&report->ops[op].tried);
	if (result >= 0)
		count(&report->ops[op].ok);
	else if (-result < REPORT_MAX_ERRNO)
		count(&report->ops[op].errnos[-result]);
	else
		report_violation("operation %u failed with the unknown error %d", op, result);
}

void report_event(enum report_event event)
{
	count(&report->events[event]);
}

void report_exit(uint32_t reason)
{
	if (reason < REPORT_MAX_EXITS)
		count(&report->exits[reason]);
}

/* Note what the kernel must not do. Only the first ones are kept, all are counted. */
void report_violation(const char *format, ...)
{
	uint32_t nr = __atomic_fetch_add(&report->nr_violations, 1, __ATOMIC_RELAXED);
	va_list arguments;

	if (nr >= REPORT_MAX_VIOLATIONS)
		return;

	va_start(arguments, format);
	vsnprintf(report->violations[nr], sizeof(report->violations[nr]), format, arguments);
	va_end(arguments);
}

static void print_op(const char *name, const struct report_op *op)
{
	unsigned int i;

	printf("%-22s %9lu %9lu ", name, op->tried, op->ok);
	for (i = 0; i < REPORT_MAX_ERRNO; i++)
		if (op->errnos[i])
			printf(" %s %lu", strerrorname_np(i) ?: "?", op->errnos[i]);
	putchar('\n');
}

static void print_counts(void)
{
	unsigned int i;

	printf("\nexits of vCPUs, by reason:");
	for (i = 0; i < REPORT_MAX_EXITS; i++)
		if (report->exits[i])
			printf(" %u: %lu", i, report->exits[i]);
	printf("\n\n%9s  what was seen\n", "times");
	for (i = 0; i < NR_EVENTS; i++)
		printf("%9lu  %s\n", report->events[i], event_names[i]);
}

/* Print all of it; return how many operations, and events if asked for, were never reached. */
unsigned int report_print(const char *const *names, unsigned int nr, bool with_events)
{
	unsigned int i, missed = 0;

	printf("%-22s %9s %9s  errors\n", "operation", "tried", "ok");
	for (i = 0; i < nr; i++) {
		print_op(names[i], &report->ops[i]);
		missed += !report->ops[i].ok;
	}
	print_counts();
	for (i = 0; i < NR_EVENTS && with_events; i++)
		missed += !report->events[i];
	return missed;
}

void report_print_violations(void)
{
	uint32_t i;

	for (i = 0; i < report->nr_violations && i < REPORT_MAX_VIOLATIONS; i++)
		printf("VIOLATION: %s\n", report->violations[i]);
	if (report->nr_violations)
		printf("%u violations\n", report->nr_violations);
}
