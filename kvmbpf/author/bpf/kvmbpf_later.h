/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvmbpf_later.h - bodies that run later: timers and works
 *
 * Problem: a device does things when no guest asks: it ticks, it moves data.
 * The kernel has bpf_timer and bpf_wq for that; they live in maps, their
 * callbacks see no access, and need a reference to the device that somebody
 * kept for them.
 * Approach: KVMBPF_TIMER(name) and KVMBPF_WORK(name) make the map, a callback
 * for each kind of entry around one body, and the functions that start it. One
 * that is started from an access keeps the device in a map of its own, which
 * only the programs that KVM calls refer to: a stock kernel has no such type.
 * Obsolete when: never.
 *
 * Bodies are not serialised with those of the accesses: what they share takes
 * atomic operations or a bpf_spin_lock. A timer or work is one thing: started
 * again before it ran, it runs once, at the new time. It keeps running over a
 * hot update, with the body of the object that started it, until an access
 * starts it anew.
 */
#ifndef KVMBPF_LATER_H
#define KVMBPF_LATER_H

#include "kvmbpf_access.h"
#include "kvmbpf_calls.h"
#include "kvmbpf_kernel.h"

/*
 * KVMBPF_TIMER(name) { body }: at file scope and before what starts it; a body
 * that runs once when its time has come. It sees `struct kvmbpf_later *later`,
 * returns nothing, and may not sleep.
 *
 *	__u64 ticks;
 *
 *	KVMBPF_TIMER(tick)
 *	{
 *		__sync_fetch_and_add(&ticks, 1);
 *		kvmbpf_irq_later(later, 0, 1);
 *		kvmbpf_timer_start(later, tick, 1000000);
 *	}
 *
 *	KVMBPF_WRITE(struct kvmbpf_access *acc)
 *	{
 *		if (acc->value)
 *			return kvmbpf_timer_start(acc, tick, 1000000);
 *		kvmbpf_timer_cancel(tick);
 *		return 0;
 *	}
 */
#define KVMBPF_TIMER(name)							\
	KVMBPF_LATER_MAP(kvmbpf_timer_##name, struct kvmbpf_timer_slot);	\
	KVMBPF_LATER_MAP(kvmbpf_kept_##name, struct kvmbpf_kept_slot);		\
	KVMBPF_LATER_BODY(name, 0)						\
	KVMBPF_TIMER_START(name)						\
	static __always_inline void kvmbpf_body_##name(struct kvmbpf_later *later KVMBPF_UNUSED)

/*
 * KVMBPF_WORK(name) { body }: the same for a body that runs soon, in a thread of
 * the kernel, and may sleep. On a stock kernel before 6.10 it cannot be started.
 *
 *	KVMBPF_WORK(fill)
 *	{
 *		__u64 zero = 0;
 *
 *		kvmbpf_guest_write_later(later, 0x1000, &zero, sizeof(zero));
 *		kvmbpf_irq_later(later, 0, 1);
 *	}
 *
 *	KVMBPF_WRITE(struct kvmbpf_access *acc)
 *	{
 *		return kvmbpf_work_start(acc, fill);
 *	}
 */
#define KVMBPF_WORK(name)							\
	KVMBPF_LATER_MAP(kvmbpf_work_##name, struct kvmbpf_work_slot);		\
	KVMBPF_LATER_MAP(kvmbpf_kept_##name, struct kvmbpf_kept_slot);		\
	KVMBPF_LATER_BODY(name, 1)						\
	KVMBPF_WORK_START(name)							\
	static __always_inline void kvmbpf_body_##name(struct kvmbpf_later *later KVMBPF_UNUSED)

/*
 * kvmbpf_timer_start(acc, name, ns): run a timer's body in so many nanoseconds;
 * kvmbpf_timer_start(later, name, ns) from a body that runs later itself. Returns
 * 0, or -ENODEV from such a body and from a reset if no access has started
 * the timer before: they cannot keep the device for it.
 *
 *	KVMBPF_TIMER(alarm) { kvmbpf_irq_later(later, 0, 1); }
 *
 *	KVMBPF_READ(struct kvmbpf_access *acc)
 *	{
 *		return kvmbpf_timer_start(acc, alarm, 50 * 1000);
 *	}
 */
#define kvmbpf_timer_start(who, name, ns)					\
	_Generic((who), struct kvmbpf_later *: kvmbpf_again_##name,		\
			struct kvmbpf_access *: kvmbpf_start_##name)(who, ns)

/*
 * kvmbpf_timer_cancel(name): stop a timer, and wait for a body that is under
 * way. Returns 1 if it was started, 0 if not, or -EDEADLK in its own body.
 *
 *	KVMBPF_TIMER(alarm) { kvmbpf_irq_later(later, 0, 1); }
 *
 *	KVMBPF_WRITE(struct kvmbpf_access *acc)
 *	{
 *		kvmbpf_timer_cancel(alarm);
 *		return 0;
 *	}
 */
#define kvmbpf_timer_cancel(name) kvmbpf_cancel_##name()

/*
 * kvmbpf_work_start(acc, name) or (later, name): run a work's body. Returns as
 * kvmbpf_timer_start(), and -EOPNOTSUPP on a stock kernel that has no bpf_wq.
 *
 *	KVMBPF_WORK(flush) { kvmbpf_irq_later(later, 0, 1); }
 *
 *	KVMBPF_TIMER(poll)
 *	{
 *		kvmbpf_work_start(later, flush);
 *	}
 *
 *	KVMBPF_READ(struct kvmbpf_access *acc)
 *	{
 *		return kvmbpf_work_start(acc, flush);
 *	}
 */
#define kvmbpf_work_start(who, name)						\
	_Generic((who), struct kvmbpf_later *: kvmbpf_again_##name,		\
			struct kvmbpf_access *: kvmbpf_start_##name)(who)

/*
 * kvmbpf_irq_later(later, index, level): what kvmbpf_irq() is, from a timer or
 * work. The interrupt controller is told a little later, with the state that the
 * line has then. Returns as kvmbpf_irq(), and -EOPNOTSUPP on a stock kernel.
 *
 *	KVMBPF_TIMER(tick)
 *	{
 *		kvmbpf_irq_later(later, 0, 1);
 *	}
 */
static __always_inline int kvmbpf_irq_later(struct kvmbpf_later *later, __u32 index, __u32 level)
{
	if (later->entry == KVMBPF_BY_CALL)
		return -EOPNOTSUPP;
	return kvm_bpf_device_set_irq(later->device, index, level);
}

/*
 * kvmbpf_guest_read_later(later, gpa, buffer, bytes) and
 * kvmbpf_guest_write_later(): what kvmbpf_guest_read() is, from a work.
 *
 *	KVMBPF_WORK(copy)
 *	{
 *		char line[64] = {};
 *
 *		if (!kvmbpf_guest_read_later(later, 0x1000, line, sizeof(line)))
 *			kvmbpf_guest_write_later(later, 0x2000, line, sizeof(line));
 *	}
 */
#define kvmbpf_guest_read_later(later, gpa, buffer, bytes)			\
	({									\
		KVMBPF_MAY_SLEEP(later);					\
		kvmbpf_guest_read_later_by(later, gpa, buffer, bytes);		\
	})

#define kvmbpf_guest_write_later(later, gpa, buffer, bytes)			\
	({									\
		KVMBPF_MAY_SLEEP(later);					\
		kvmbpf_guest_write_later_by(later, gpa, buffer, bytes);		\
	})

static __always_inline int kvmbpf_guest_read_later_by(struct kvmbpf_later *later, __u64 gpa,
						      void *buffer, __u32 bytes)
{
	if (later->entry == KVMBPF_BY_CALL)
		return -EOPNOTSUPP;
	return bytes ? kvm_bpf_read_guest(later->device, gpa, buffer, bytes) : -EINVAL;
}

static __always_inline int kvmbpf_guest_write_later_by(struct kvmbpf_later *later, __u64 gpa,
						       void *buffer, __u32 bytes)
{
	if (later->entry == KVMBPF_BY_CALL)
		return -EOPNOTSUPP;
	return bytes ? kvm_bpf_write_guest(later->device, gpa, buffer, bytes) : -EINVAL;
}

/* ---- private: what the macros make ---------------------------------------- */

#define KVMBPF_MONOTONIC 1 /* CLOCK_MONOTONIC */

/* `started`: an access has started it, so that it has its callback and a device. */
struct kvmbpf_timer_slot {
	struct bpf_timer timer;
	__u32 started;
};

struct kvmbpf_work_slot {
	struct bpf_wq work;
	__u32 started;
};

struct kvmbpf_kept_slot {
	kvmbpf_kernel_device __kptr *device;
};

#define KVMBPF_LATER_MAP(map, slot)						\
	struct {								\
		__uint(type, BPF_MAP_TYPE_ARRAY);				\
		__uint(max_entries, 1);						\
		__type(key, __u32);						\
		__type(value, slot);						\
	} map SEC(".maps")

static __always_inline void *kvmbpf_slot(void *map)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(map, &key);
}

/* Put a device where a callback finds it, in place of the one that is there. */
static __always_inline void kvmbpf_keep(struct kvmbpf_kept_slot *slot, struct kvm_bpf_device *dev)
{
	dev = bpf_kptr_xchg(&slot->device, dev);
	if (dev)
		kvm_bpf_device_release(dev);
}

/*
 * The callbacks: kvmbpf_ran_ of what KVM's programs started, with the device
 * taken out of its slot and put back, and kvmbpf_called_ of what a call did.
 * kvmbpf_keep_ is what the former needs.
 */
#define KVMBPF_LATER_BODY(name, may_sleep)					\
	static __always_inline void kvmbpf_body_##name(struct kvmbpf_later *later); \
	static KVMBPF_UNUSED int						\
	kvmbpf_ran_##name(void *map KVMBPF_UNUSED, int *key KVMBPF_UNUSED,	\
			  void *value KVMBPF_UNUSED)				\
	{									\
		struct kvmbpf_kept_slot *slot = kvmbpf_slot(&kvmbpf_kept_##name); \
		struct kvmbpf_later later = {					\
			.entry = KVMBPF_BY_KERNEL, .sleeps = (may_sleep),	\
		};								\
		struct kvm_bpf_device *dev;					\
										\
		dev = slot ? bpf_kptr_xchg(&slot->device, (void *)0) : (void *)0; \
		if (!dev)							\
			return 0;						\
		later.device = dev;						\
		kvmbpf_body_##name(&later);					\
		kvmbpf_keep(slot, dev);						\
		return 0;							\
	}									\
	static KVMBPF_UNUSED int						\
	kvmbpf_called_##name(void *map KVMBPF_UNUSED, int *key KVMBPF_UNUSED,	\
			     void *value KVMBPF_UNUSED)				\
	{									\
		struct kvmbpf_later later = {					\
			.entry = KVMBPF_BY_CALL, .sleeps = (may_sleep),		\
		};								\
										\
		kvmbpf_body_##name(&later);					\
		return 0;							\
	}									\
	KVMBPF_INTERNAL kvmbpf_keep_##name(struct kvmbpf_access *acc)		\
	{									\
		struct kvmbpf_kept_slot *slot = kvmbpf_slot(&kvmbpf_kept_##name); \
										\
		if (!slot)							\
			return -ENOENT;						\
		kvmbpf_keep(slot, kvm_bpf_device_acquire(acc->handle));		\
		return 0;							\
	}

/* Not every device uses all of what a macro makes. */
#define KVMBPF_INTERNAL static __always_inline KVMBPF_UNUSED int

/* Whether the body is that of a reset, which starts what an access has started only. */
#define KVMBPF_IS_RESET(acc)							\
	((acc)->entry == KVMBPF_BY_KERNEL_RESET || (acc)->entry == KVMBPF_BY_CALL_RESET)

/* A timer of an array is there from the first time on: -EBUSY is none. */
#define KVMBPF_TIMER_START(name)						\
	KVMBPF_INTERNAL kvmbpf_again_##name(struct kvmbpf_later *later KVMBPF_UNUSED, __u64 ns)	\
	{									\
		struct kvmbpf_timer_slot *slot = kvmbpf_slot(&kvmbpf_timer_##name); \
										\
		if (!slot || !slot->started)					\
			return -ENODEV;						\
		return bpf_timer_start(&slot->timer, ns, 0);			\
	}									\
	KVMBPF_INTERNAL kvmbpf_start_##name(struct kvmbpf_access *acc, __u64 ns) \
	{									\
		struct kvmbpf_timer_slot *slot = kvmbpf_slot(&kvmbpf_timer_##name); \
		int result;							\
										\
		if (KVMBPF_IS_RESET(acc))					\
			return kvmbpf_again_##name((void *)0, ns);		\
		if (!slot)							\
			return -ENOENT;						\
		if (acc->entry == KVMBPF_BY_KERNEL && kvmbpf_keep_##name(acc))	\
			return -ENOENT;						\
		result = bpf_timer_init(&slot->timer, &kvmbpf_timer_##name,	\
					KVMBPF_MONOTONIC);			\
		if (result && result != -EBUSY)					\
			return result;						\
		if (acc->entry == KVMBPF_BY_KERNEL)				\
			result = bpf_timer_set_callback(&slot->timer, kvmbpf_ran_##name); \
		else								\
			result = bpf_timer_set_callback(&slot->timer, kvmbpf_called_##name); \
		if (result)							\
			return result;						\
		slot->started = 1;						\
		return bpf_timer_start(&slot->timer, ns, 0);			\
	}									\
	KVMBPF_INTERNAL kvmbpf_cancel_##name(void)				\
	{									\
		struct kvmbpf_timer_slot *slot = kvmbpf_slot(&kvmbpf_timer_##name); \
										\
		return slot && slot->started ? bpf_timer_cancel(&slot->timer) : 0; \
	}

#define KVMBPF_WORK_START(name)							\
	KVMBPF_INTERNAL kvmbpf_again_##name(struct kvmbpf_later *later KVMBPF_UNUSED) \
	{									\
		struct kvmbpf_work_slot *slot = kvmbpf_slot(&kvmbpf_work_##name); \
										\
		if (!KVMBPF_HAS(bpf_wq_start))					\
			return -EOPNOTSUPP;					\
		if (!slot || !slot->started)					\
			return -ENODEV;						\
		return bpf_wq_start(&slot->work, 0);				\
	}									\
	KVMBPF_INTERNAL kvmbpf_start_##name(struct kvmbpf_access *acc)		\
	{									\
		struct kvmbpf_work_slot *slot = kvmbpf_slot(&kvmbpf_work_##name); \
		int result;							\
										\
		if (KVMBPF_IS_RESET(acc))					\
			return kvmbpf_again_##name((void *)0);			\
		if (!KVMBPF_HAS(bpf_wq_start))					\
			return -EOPNOTSUPP;					\
		if (!slot)							\
			return -ENOENT;						\
		if (acc->entry == KVMBPF_BY_KERNEL && kvmbpf_keep_##name(acc))	\
			return -ENOENT;						\
		result = bpf_wq_init(&slot->work, &kvmbpf_work_##name, 0);	\
		if (result && result != -EBUSY)					\
			return result;						\
		if (acc->entry == KVMBPF_BY_KERNEL)				\
			result = bpf_wq_set_callback_impl(&slot->work, kvmbpf_ran_##name, \
							  0, (void *)0);	\
		else								\
			result = bpf_wq_set_callback_impl(&slot->work, kvmbpf_called_##name, \
							  0, (void *)0);	\
		if (result)							\
			return result;						\
		slot->started = 1;						\
		return bpf_wq_start(&slot->work, 0);				\
	}

#endif /* KVMBPF_LATER_H */
