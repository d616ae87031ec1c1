/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the processes of a run tell the one that started them: through memory
 * that they share, for any of them may be killed at any time.
 */
#ifndef FUZZ_REPORT_H
#define FUZZ_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#define REPORT_MAX_OPS        64
#define REPORT_MAX_ERRNO      134
#define REPORT_MAX_VIOLATIONS 32
#define REPORT_MAX_EXITS      64

/* What is worth seeing but is no operation. */
enum report_event {
	EVENT_ANSWERED,
	EVENT_DECLINED,
	EVENT_FAULT,
	EVENT_SLOW_FAULT,
	EVENT_EJECTED,
	EVENT_ASSERTED,
	EVENT_REPLACED,
	EVENT_FOREIGN,
	EVENT_KILLED,
	EVENT_EXITED,
	EVENT_CLOSED,
	NR_EVENTS,
};

struct report_op {
	uint64_t tried;
	uint64_t ok;
	uint64_t errnos[REPORT_MAX_ERRNO];
};

struct report {
	struct report_op ops[REPORT_MAX_OPS];
	uint64_t exits[REPORT_MAX_EXITS];
	uint64_t events[NR_EVENTS];
	uint32_t nr_violations;
	char violations[REPORT_MAX_VIOLATIONS][160];
};

extern struct report *report;

void report_init(void);
void report_result(unsigned int op, int result);
void report_event(enum report_event event);
void report_exit(uint32_t reason);
void report_violation(const char *format, ...) __attribute__((format(printf, 1, 2)));
unsigned int report_print(const char *const *names, unsigned int nr, bool with_events);
void report_print_violations(void);

#endif /* FUZZ_REPORT_H */
