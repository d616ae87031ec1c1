// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A goldfish RTC, for the kernel's rtc-goldfish driver
 *
 * Written from kvmbpf.bpf.h and docs/devices.md alone, to see that they suffice.
 * The clock counts nanoseconds of CLOCK_TAI from `epoch_ns` on; a write sets it.
 * One alarm, by a timer; one level-triggered interrupt.
 */
#include <kvmbpf.bpf.h>

#define TIME_LOW        0x00 /* a read latches the high half */
#define TIME_HIGH       0x04
#define ALARM_LOW       0x08 /* a write starts the alarm */
#define ALARM_HIGH      0x0c
#define IRQ_ENABLED     0x10
#define CLEAR_ALARM     0x14
#define ALARM_STATUS    0x18
#define CLEAR_INTERRUPT 0x1c
#define REGS_END        0x20

KVMBPF_DEVICE(goldfish_rtc, .compatible = "google,goldfish-rtc", .regions = { KVMBPF_MMIO(0x1000) },
	      .irqs = 1, .level_irqs = 1, .flags = KVMBPF_RESETS);

__s64 epoch_ns; /* what a set clock is ahead of the host's */
__u32 time_high;
__u32 alarm_low;
__u32 alarm_high;
__u32 irq_enabled;
/* The timer and the accesses share these two. */
__u32 alarm_runs;
__u32 irq_pending;

KVMBPF_TIMER(alarm)
{
	__sync_lock_test_and_set(&alarm_runs, 0);
	__sync_lock_test_and_set(&irq_pending, 1);
	if (*(volatile __u32 *)&irq_enabled)
		kvmbpf_irq_later(later, 0, 1);
}

static __always_inline __u64 now(void)
{
	return bpf_ktime_get_tai_ns() + epoch_ns;
}

static __always_inline int set_line(struct kvmbpf_access *acc)
{
	return kvmbpf_irq(acc, 0, irq_pending && irq_enabled);
}

static __always_inline int start_alarm(struct kvmbpf_access *acc)
{
	__u64 at = (__u64)alarm_high << 32 | alarm_low;
	__u64 time = now();
	int result;

	alarm_runs = 1;
	result = kvmbpf_timer_start(acc, alarm, at > time ? at - time : 0);
	if (result)
		alarm_runs = 0;
	return result;
}

KVMBPF_READ(struct kvmbpf_access *acc)
{
	__u64 time;

	if (acc->offset >= REGS_END)
		return KVMBPF_DECLINE;

	acc->value = 0;
	if (acc->len != 4)
		return 0;

	switch (acc->offset) {
	case TIME_LOW:
		time = now();
		time_high = time >> 32;
		acc->value = (__u32)time;
		break;
	case TIME_HIGH:
		acc->value = time_high;
		break;
	case ALARM_LOW:
		acc->value = alarm_low;
		break;
	case ALARM_HIGH:
		acc->value = alarm_high;
		break;
	case IRQ_ENABLED:
		acc->value = irq_enabled;
		break;
	case ALARM_STATUS:
		acc->value = alarm_runs;
		break;
	}
	return 0;
}

KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	if (acc->offset >= REGS_END)
		return KVMBPF_DECLINE;
	if (acc->len != 4)
		return 0;

	switch (acc->offset) {
	case TIME_LOW:
		epoch_ns = ((__u64)time_high << 32 | acc->value) - bpf_ktime_get_tai_ns();
		break;
	case TIME_HIGH:
		time_high = acc->value;
		break;
	case ALARM_LOW:
		alarm_low = acc->value;
		return start_alarm(acc);
	case ALARM_HIGH:
		alarm_high = acc->value;
		break;
	case IRQ_ENABLED:
		irq_enabled = acc->value & 1;
		return set_line(acc);
	case CLEAR_ALARM:
		kvmbpf_timer_cancel(alarm);
		alarm_runs = 0;
		break;
	case CLEAR_INTERRUPT:
		irq_pending = 0;
		return set_line(acc);
	}
	return 0;
}

KVMBPF_RESET(struct kvmbpf_access *acc)
{
	kvmbpf_timer_cancel(alarm);
	alarm_runs = 0;
	irq_pending = 0;
	irq_enabled = 0;
	return 0;
}
