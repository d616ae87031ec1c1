// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A device that does what its offset says and the value of a write is for, and
 * notes what came of it: timers, works, guest memory, hints, reset, the log.
 */
#include <kvmbpf.bpf.h>

KVMBPF_DEVICE(able, .compatible = "kvmbpf,able", .regions = { KVMBPF_MMIO(0x1000) }, .irqs = 2,
	      .level_irqs = 2, .flags = KVMBPF_RESETS);

enum able_op {
	ABLE_TIMER, /* start the timer, value nanoseconds */
	ABLE_CANCEL, /* cancel it */
	ABLE_WORK, /* start the work */
	ABLE_WRITE_GUEST, /* write `word` to address value */
	ABLE_READ_GUEST, /* read it from there */
	ABLE_KICK, /* kick vCPU value */
	ABLE_UCLAMP, /* 0 to value */
	ABLE_FREQ, /* both, to `word` */
	ABLE_LOG, /* say it */
	ABLE_LOG_LONG, /* say more than fits */
	ABLE_NO_BYTES, /* write none of them */
	ABLE_LEVEL, /* set irq 1 to value */
	ABLE_REPEAT, /* start the timer that starts itself, value nanoseconds */
	ABLE_CANCEL_REPEAT,
	ABLE_WORK_BY_TIMER, /* start the work from the timer that starts it */
};

int result = 1; /* what the call returned; 1: none yet */
int later_result = 1; /* what the timer's or work's last call returned */
int reset_result;
int reset_timer_result = 1;
__u64 word;
__u64 gpa; /* where the work writes `word` */
__u32 ticks;
__u32 works;
__u32 repeats;
__u32 resets;

KVMBPF_TIMER(tick)
{
	later_result = kvmbpf_irq_later(later, 0, 1);
	__sync_fetch_and_add(&ticks, 1);
}

KVMBPF_TIMER(repeat)
{
	if (__sync_fetch_and_add(&repeats, 1) < 4)
		later_result = kvmbpf_timer_start(later, repeat, 1000);
}

KVMBPF_WORK(fill)
{
	__u64 found = 0;

	later_result = kvmbpf_guest_write_later(later, gpa, &word, sizeof(word));
	if (!later_result)
		later_result = kvmbpf_guest_read_later(later, gpa, &found, sizeof(found));
	if (!later_result && found != word)
		later_result = -EIO;
	if (!later_result)
		later_result = kvmbpf_irq_later(later, 1, 1);
	__sync_fetch_and_add(&works, 1);
}

KVMBPF_TIMER(then_work)
{
	later_result = kvmbpf_work_start(later, fill);
}

KVMBPF_READ(struct kvmbpf_access *acc)
{
	acc->value = result;
	return 0;
}

static __always_inline int operate(struct kvmbpf_access *acc)
{
	switch (acc->offset >> 3) {
	case ABLE_TIMER:
		return kvmbpf_timer_start(acc, tick, acc->value);
	case ABLE_CANCEL:
		return kvmbpf_timer_cancel(tick);
	case ABLE_WORK:
		return kvmbpf_work_start(acc, fill);
	case ABLE_WRITE_GUEST:
		return kvmbpf_guest_write(acc, acc->value, &word, sizeof(word));
	case ABLE_READ_GUEST:
		return kvmbpf_guest_read(acc, acc->value, &word, sizeof(word));
	case ABLE_KICK:
		return kvmbpf_kick(acc, acc->value);
	case ABLE_UCLAMP:
		return kvmbpf_uclamp(acc, 0, acc->value);
	case ABLE_FREQ:
		word = (__u64)kvmbpf_cpu_max_freq(acc) << 32 | kvmbpf_cpu_freq(acc);
		return 0;
	case ABLE_LOG:
		kvmbpf_log("plain");
		kvmbpf_log("%u %d 0x%llx %s %c", acc->len, -1, acc->value, "text", 'c');
		return 0;
	case ABLE_LOG_LONG:
		kvmbpf_log("%0100d%0100d", 1, 2);
		return 0;
	case ABLE_NO_BYTES:
		return kvmbpf_guest_write(acc, 0, &word, 0);
	case ABLE_LEVEL:
		return kvmbpf_irq(acc, 1, acc->value);
	case ABLE_REPEAT:
		return kvmbpf_timer_start(acc, repeat, acc->value);
	case ABLE_CANCEL_REPEAT:
		return kvmbpf_timer_cancel(repeat);
	case ABLE_WORK_BY_TIMER:
		return kvmbpf_timer_start(acc, then_work, 0);
	}
	return KVMBPF_DECLINE;
}

KVMBPF_WRITE_SLEEPABLE(struct kvmbpf_access *acc)
{
	if (acc->offset >= 0x100)
		return KVMBPF_DECLINE;
	result = operate(acc);
	return 0;
}

KVMBPF_RESET(struct kvmbpf_access *acc)
{
	resets++;
	reset_timer_result = kvmbpf_timer_start(acc, tick, 0);
	if (gpa)
		kvmbpf_guest_write(acc, gpa, &resets, sizeof(resets));
	if (!reset_result)
		return kvmbpf_irq(acc, 0, 1);
	return reset_result;
}
