// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A vCPU stall detector, for the kernel's driver of that name
 *
 * Written from kvmbpf.bpf.h and docs/devices.md alone, to see that they suffice.
 * Each vCPU has a countdown, which its driver sets again in time. There is one
 * timer for all: it runs at the next time that one may be over.
 */
#include <kvmbpf.bpf.h>

KVMBPF_DEVICE(stall_detector, .compatible = "qemu,vcpu-stall-detector",
	      .regions = { KVMBPF_MMIO(0x1000) }, .irqs = 1, .level_irqs = 1);

KVMBPF_PROPERTY("clock-frequency", "<10>");
KVMBPF_PROPERTY("timeout-sec", "<8>");

#define VCPUS             64
#define REG_STATUS        0x00
#define REG_LOAD_CNT      0x04
#define REG_CURRENT_CNT   0x08
#define REG_CLOCK_FREQ_HZ 0x0c
#define REG_LEN           0x10

struct countdown {
	struct bpf_spin_lock lock;
	__u32 enabled, ticks, hz;
	__u64 end_ns; /* 0: it does not run */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, VCPUS);
	__type(key, __u32);
	__type(value, struct countdown);
} countdowns SEC(".maps");

__u64 stalls;
__u32 stalled_vcpu;

static __always_inline __u64 left_of(__u32 vcpu, __u64 now)
{
	struct countdown *found = bpf_map_lookup_elem(&countdowns, &vcpu);
	__u64 left = 0;

	if (!found)
		return 0;
	bpf_spin_lock(&found->lock);
	if (found->end_ns > now)
		left = found->end_ns - now;
	bpf_spin_unlock(&found->lock);
	return left;
}

static __always_inline int is_over(__u32 vcpu, __u64 now)
{
	struct countdown *found = bpf_map_lookup_elem(&countdowns, &vcpu);
	int over = 0;

	if (!found)
		return 0;
	bpf_spin_lock(&found->lock);
	if (found->end_ns && found->end_ns <= now) {
		found->end_ns = 0;
		over = 1;
	}
	bpf_spin_unlock(&found->lock);
	return over;
}

/* How long until the next one is over; 0: none runs. */
static __always_inline __u64 next_end(__u64 now)
{
	__u64 next = 0, left;
	__u32 vcpu;

	for (vcpu = 0; vcpu < VCPUS; vcpu++) {
		left = left_of(vcpu, now);
		if (left && (!next || left < next))
			next = left;
	}
	return next;
}

KVMBPF_TIMER(check)
{
	__u64 now = bpf_ktime_get_ns(), next;
	__u32 vcpu;

	for (vcpu = 0; vcpu < VCPUS; vcpu++) {
		if (!is_over(vcpu, now))
			continue;
		__sync_fetch_and_add(&stalls, 1);
		stalled_vcpu = vcpu;
		kvmbpf_log("vcpu %u has stalled", vcpu);
		kvmbpf_irq_later(later, 0, 1);
	}
	next = next_end(now);
	if (next)
		kvmbpf_timer_start(later, check, next);
}

KVMBPF_READ(struct kvmbpf_access *acc)
{
	__u32 vcpu = acc->offset / REG_LEN;
	struct countdown *found = bpf_map_lookup_elem(&countdowns, &vcpu);
	__u64 left;

	if (!found || acc->len != 4)
		return KVMBPF_DECLINE;

	switch (acc->offset % REG_LEN) {
	case REG_STATUS:
		acc->value = found->enabled;
		break;
	case REG_LOAD_CNT:
		acc->value = found->ticks;
		break;
	case REG_CURRENT_CNT:
		left = left_of(vcpu, bpf_ktime_get_ns());
		acc->value = left * found->hz / 1000000000;
		break;
	case REG_CLOCK_FREQ_HZ:
		acc->value = found->hz;
		break;
	}
	return 0;
}

KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	__u32 vcpu = acc->offset / REG_LEN, value = acc->value;
	struct countdown *found = bpf_map_lookup_elem(&countdowns, &vcpu);
	__u64 now = bpf_ktime_get_ns(), next;

	if (!found || acc->len != 4)
		return KVMBPF_DECLINE;

	bpf_spin_lock(&found->lock);
	switch (acc->offset % REG_LEN) {
	case REG_STATUS:
		found->enabled = value & 1;
		break;
	case REG_LOAD_CNT:
		found->ticks = value;
		break;
	case REG_CLOCK_FREQ_HZ:
		found->hz = value;
		break;
	}
	found->end_ns = 0;
	if (found->enabled && found->ticks && found->hz)
		found->end_ns = now + (__u64)found->ticks * 1000000000 / found->hz;
	bpf_spin_unlock(&found->lock);

	next = next_end(now);
	if (next)
		return kvmbpf_timer_start(acc, check, next);
	kvmbpf_timer_cancel(check);
	return 0;
}
