/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvmbpf_native.h - a device's source, compiled for this machine and not for BPF
 *
 * Problem: the unit test of a device should need neither a kernel nor a VM, and
 * run the author's own source, not a copy of it in another language.
 * Approach: kvmbpf.bpf.h includes this file where the compiler does not target
 * BPF. It gives the same macros, and functions of the same names as the BPF
 * helpers; what they do is behind a table of function pointers that the test
 * fills (kvmbpf/testing). Maps are declared as for libbpf: a map is known by
 * its address, and what it is by the BTF of the same source compiled for BPF.
 * Obsolete when: never; a new macro of kvmbpf.bpf.h gets its twin here.
 *
 * A helper that is not here does not compile natively. What differs from BPF
 * is in docs/devices.md, "Test without a kernel".
 */
#ifndef KVMBPF_NATIVE_H
#define KVMBPF_NATIVE_H

/* libbpf's <bpf/bpf_helpers.h> would make each helper a call of the kernel. */
#define __BPF_HELPERS__

#include <linux/types.h>
#include <linux/bpf.h>
#include "kvmbpf_access.h"
#include "kvmbpf_note.h"

/* ---- between the device and its test ------------------------------------- */

/* One access; kvmbpf/testing/abi.py repeats it. */
struct kvmbpf_native_call {
	__u64 offset, value;
	__u32 len, region, vcpu, reserved;
};

/* A timer or a work: one object each, known by its address. */
struct kvmbpf_native_deferred {
	const char *name;
	void (*body)(struct kvmbpf_later *later);
};

/* Who starts a timer or work: what is not an access needs one before it. */
enum kvmbpf_native_starter {
	KVMBPF_NATIVE_BY_ACCESS,
	KVMBPF_NATIVE_BY_OTHER,
};

enum kvmbpf_native_clock {
	KVMBPF_NATIVE_MONOTONIC,
	KVMBPF_NATIVE_TAI,
};

/* What a device calls; kvmbpf/testing/abi.py repeats it in the same order. */
struct kvmbpf_native {
	/* kvmbpf's own */
	int (*irq)(__u32 index, __u32 level);
	int (*guest)(__u64 gpa, void *buffer, __u32 bytes, __u32 write);
	int (*timer_start)(const struct kvmbpf_native_deferred *timer, __u64 ns, __u32 starter);
	int (*timer_cancel)(const struct kvmbpf_native_deferred *timer);
	int (*work_start)(const struct kvmbpf_native_deferred *work, __u32 starter);
	int (*kick)(__u32 vcpu);
	int (*uclamp)(__u32 vcpu, __u32 min, __u32 max);
	__u32 (*frequency)(__u32 highest);
	void (*log)(const char *format, const __u64 *arguments, __u32 count);
	/* BPF's helpers */
	__u64 (*clock)(__u32 which);
	__u32 (*random)(void);
	void (*lock)(struct bpf_spin_lock *lock, __u32 take);
	void *(*map_lookup)(const void *map, const void *key);
	long (*map_update)(const void *map, const void *key, const void *value, __u64 flags);
	long (*map_delete)(const void *map, const void *key);
	long (*map_take)(const void *map, void *value, __u32 remove);
	long (*map_for_each)(const void *map, const void *callback, void *context, __u64 flags);
	void *(*ring_reserve)(const void *map, __u64 bytes, __u64 flags);
	void (*ring_commit)(void *record, __u32 discard);
	__u64 (*ring_query)(const void *map, __u64 flags);
	long (*snprintf)(char *text, __u32 bytes, const char *format, const __u64 *arguments,
			 __u32 count);
};

#define KVMBPF_NATIVE_EXPORT __attribute__((visibility("default"), used))

KVMBPF_NATIVE_EXPORT struct kvmbpf_native kvmbpf_native;

/* ---- what <bpf/bpf_helpers.h> defines ------------------------------------ */

#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name
#define __array(name, val) typeof(val) *name[]
#define __ulong(name, val) enum { kvmbpf_native_unique_##name = val } name

/* No meaning for a device, natively or not: its maps are its VM's own. */
enum libbpf_pin_type {
	LIBBPF_PIN_NONE,
	LIBBPF_PIN_BY_NAME,
};

#define SEC(name) __attribute__((section(name), used))

#undef __always_inline
#define __always_inline inline __attribute__((always_inline, unused))
#ifndef __noinline
#define __noinline __attribute__((noinline))
#endif
#ifndef __weak
#define __weak __attribute__((weak))
#endif
#define __hidden __attribute__((visibility("hidden")))
#define __ksym
#define __kconfig                                                          \
	__attribute__((unavailable("a native build has no kernel's configuration: " \
				   "test the object that kvmbpf build makes of it, on a kernel")))
#define __kptr
#define __kptr_untrusted
#define __percpu_kptr
#define __arg_ctx
#define __arg_nonnull
#define __arg_nullable
#define __arg_trusted
#define __arg_arena

#ifndef NULL
#define NULL ((void *)0)
#endif
#ifndef offsetof
#define offsetof(type, member) __builtin_offsetof(type, member)
#endif
#ifndef container_of
#define container_of(ptr, type, member) \
	((type *)((void *)(ptr) - offsetof(type, member)))
#endif
#ifndef barrier
#define barrier() asm volatile("" ::: "memory")
#endif
#ifndef barrier_var
#define barrier_var(var) asm volatile("" : "+r"(var))
#endif
#ifndef likely
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#endif

#define bpf_for(i, start, end) for ((i) = (start); (i) < (end); (i)++)
#define bpf_repeat(count)                                                     \
	for (int kvmbpf_native_i = 0, kvmbpf_native_n = (count);              \
	     kvmbpf_native_i < kvmbpf_native_n; kvmbpf_native_i++)

/* ---- BPF's helpers ------------------------------------------------------- */

#define KVMBPF_NATIVE static inline __attribute__((unused))

KVMBPF_NATIVE void *bpf_map_lookup_elem(const void *map, const void *key)
{
	return kvmbpf_native.map_lookup(map, key);
}

/* There is one CPU. */
KVMBPF_NATIVE void *bpf_map_lookup_percpu_elem(const void *map, const void *key, __u32 cpu)
{
	return cpu == 0 ? kvmbpf_native.map_lookup(map, key) : NULL;
}

KVMBPF_NATIVE long bpf_map_update_elem(const void *map, const void *key, const void *value,
				       __u64 flags)
{
	return kvmbpf_native.map_update(map, key, value, flags);
}

KVMBPF_NATIVE long bpf_map_delete_elem(const void *map, const void *key)
{
	return kvmbpf_native.map_delete(map, key);
}

KVMBPF_NATIVE long bpf_map_push_elem(const void *map, const void *value, __u64 flags)
{
	return kvmbpf_native.map_update(map, NULL, value, flags);
}

KVMBPF_NATIVE long bpf_map_pop_elem(const void *map, void *value)
{
	return kvmbpf_native.map_take(map, value, 1);
}

KVMBPF_NATIVE long bpf_map_peek_elem(const void *map, void *value)
{
	return kvmbpf_native.map_take(map, value, 0);
}

KVMBPF_NATIVE long bpf_for_each_map_elem(const void *map, const void *callback, void *context,
					 __u64 flags)
{
	return kvmbpf_native.map_for_each(map, callback, context, flags);
}

KVMBPF_NATIVE void *bpf_ringbuf_reserve(const void *map, __u64 bytes, __u64 flags)
{
	return kvmbpf_native.ring_reserve(map, bytes, flags);
}

KVMBPF_NATIVE void bpf_ringbuf_submit(void *record, __u64 flags)
{
	(void)flags;
	kvmbpf_native.ring_commit(record, 0);
}

KVMBPF_NATIVE void bpf_ringbuf_discard(void *record, __u64 flags)
{
	(void)flags;
	kvmbpf_native.ring_commit(record, 1);
}

KVMBPF_NATIVE long bpf_ringbuf_output(const void *map, const void *data, __u64 bytes, __u64 flags)
{
	void *record = kvmbpf_native.ring_reserve(map, bytes, 0);

	if (!record)
		return -11; /* -EAGAIN */
	__builtin_memcpy(record, data, bytes);
	bpf_ringbuf_submit(record, flags);
	return 0;
}

KVMBPF_NATIVE __u64 bpf_ringbuf_query(const void *map, __u64 flags)
{
	return kvmbpf_native.ring_query(map, flags);
}

KVMBPF_NATIVE __u64 bpf_ktime_get_ns(void)
{
	return kvmbpf_native.clock(KVMBPF_NATIVE_MONOTONIC);
}

KVMBPF_NATIVE __u64 bpf_ktime_get_boot_ns(void)
{
	return kvmbpf_native.clock(KVMBPF_NATIVE_MONOTONIC);
}

KVMBPF_NATIVE __u64 bpf_ktime_get_coarse_ns(void)
{
	return kvmbpf_native.clock(KVMBPF_NATIVE_MONOTONIC);
}

KVMBPF_NATIVE __u64 bpf_jiffies64(void)
{
	return kvmbpf_native.clock(KVMBPF_NATIVE_MONOTONIC) / 1000000;
}

KVMBPF_NATIVE __u64 bpf_ktime_get_tai_ns(void)
{
	return kvmbpf_native.clock(KVMBPF_NATIVE_TAI);
}

KVMBPF_NATIVE __u32 bpf_get_prandom_u32(void)
{
	return kvmbpf_native.random();
}

KVMBPF_NATIVE __u32 bpf_get_smp_processor_id(void)
{
	return 0;
}

KVMBPF_NATIVE void bpf_spin_lock(struct bpf_spin_lock *lock)
{
	kvmbpf_native.lock(lock, 1);
}

KVMBPF_NATIVE void bpf_spin_unlock(struct bpf_spin_lock *lock)
{
	kvmbpf_native.lock(lock, 0);
}

KVMBPF_NATIVE long bpf_loop(__u32 times, void *callback, void *context, __u64 flags)
{
	long (*step)(__u64 index, void *context) = callback;
	__u32 i;

	if (flags)
		return -22; /* -EINVAL */
	if (times > 1 << 23)
		return -7; /* -E2BIG */
	for (i = 0; i < times; i++)
		if ((int)step(i, context))
			return i + 1;
	return times;
}

KVMBPF_NATIVE long bpf_strncmp(const char *s1, __u32 bytes, const char *s2)
{
	return __builtin_strncmp(s1, s2, bytes);
}

KVMBPF_NATIVE long bpf_probe_read_kernel(void *to, __u32 bytes, const void *from)
{
	__builtin_memcpy(to, from, bytes);
	return 0;
}

KVMBPF_NATIVE long bpf_snprintf(char *text, __u32 bytes, const char *format,
				const __u64 *arguments, __u32 argument_bytes)
{
	return kvmbpf_native.snprintf(text, bytes, format, arguments, argument_bytes / 8);
}

/* ---- text: up to 12 arguments, 64 bits each ------------------------------ */

#define KVMBPF_NATIVE_U64(x) ((__u64)(unsigned long)(x))
#define KVMBPF_NATIVE_ARGUMENTS_0() 0
#define KVMBPF_NATIVE_ARGUMENTS_1(x) KVMBPF_NATIVE_U64(x)
#define KVMBPF_NATIVE_ARGUMENTS_2(x, ...) \
	KVMBPF_NATIVE_U64(x), KVMBPF_NATIVE_ARGUMENTS_1(__VA_ARGS__)
#define KVMBPF_NATIVE_ARGUMENTS_3(x, ...) \
	KVMBPF_NATIVE_U64(x), KVMBPF_NATIVE_ARGUMENTS_2(__VA_ARGS__)
#define KVMBPF_NATIVE_ARGUMENTS_4(x, ...) \
	KVMBPF_NATIVE_U64(x), KVMBPF_NATIVE_ARGUMENTS_3(__VA_ARGS__)
#define KVMBPF_NATIVE_ARGUMENTS_5(x, ...) \
	KVMBPF_NATIVE_U64(x), KVMBPF_NATIVE_ARGUMENTS_4(__VA_ARGS__)
#define KVMBPF_NATIVE_ARGUMENTS_6(x, ...) \
	KVMBPF_NATIVE_U64(x), KVMBPF_NATIVE_ARGUMENTS_5(__VA_ARGS__)
#define KVMBPF_NATIVE_ARGUMENTS_7(x, ...) \
	KVMBPF_NATIVE_U64(x), KVMBPF_NATIVE_ARGUMENTS_6(__VA_ARGS__)
#define KVMBPF_NATIVE_ARGUMENTS_8(x, ...) \
	KVMBPF_NATIVE_U64(x), KVMBPF_NATIVE_ARGUMENTS_7(__VA_ARGS__)
#define KVMBPF_NATIVE_ARGUMENTS_9(x, ...) \
	KVMBPF_NATIVE_U64(x), KVMBPF_NATIVE_ARGUMENTS_8(__VA_ARGS__)
#define KVMBPF_NATIVE_ARGUMENTS_10(x, ...) \
	KVMBPF_NATIVE_U64(x), KVMBPF_NATIVE_ARGUMENTS_9(__VA_ARGS__)
#define KVMBPF_NATIVE_ARGUMENTS_11(x, ...) \
	KVMBPF_NATIVE_U64(x), KVMBPF_NATIVE_ARGUMENTS_10(__VA_ARGS__)
#define KVMBPF_NATIVE_ARGUMENTS_12(x, ...) \
	KVMBPF_NATIVE_U64(x), KVMBPF_NATIVE_ARGUMENTS_11(__VA_ARGS__)

#define KVMBPF_NATIVE_NTH(_0, _1, _2, _3, _4, _5, _6, _7, _8, _9, _10, _11, _12, n, ...) n
#define KVMBPF_NATIVE_COUNT(...) \
	KVMBPF_NATIVE_NTH(_, ##__VA_ARGS__, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define KVMBPF_NATIVE_PASTE_(a, b) a##b
#define KVMBPF_NATIVE_PASTE(a, b) KVMBPF_NATIVE_PASTE_(a, b)
#define KVMBPF_NATIVE_ARGUMENTS(...) \
	KVMBPF_NATIVE_PASTE(KVMBPF_NATIVE_ARGUMENTS_, KVMBPF_NATIVE_COUNT(__VA_ARGS__))(__VA_ARGS__)

#define KVMBPF_NATIVE_LOG(format, ...)                                                  \
	({                                                                              \
		const __u64 kvmbpf_native_arguments[] = {                               \
			KVMBPF_NATIVE_ARGUMENTS(__VA_ARGS__)                            \
		};                                                                      \
		kvmbpf_native.log(format, kvmbpf_native_arguments,                      \
				  KVMBPF_NATIVE_COUNT(__VA_ARGS__));                    \
	})

#define bpf_printk(format, ...) KVMBPF_NATIVE_LOG(format, ##__VA_ARGS__)
#define BPF_SNPRINTF(text, bytes, format, ...)                                          \
	({                                                                              \
		const __u64 kvmbpf_native_arguments[] = {                               \
			KVMBPF_NATIVE_ARGUMENTS(__VA_ARGS__)                            \
		};                                                                      \
		kvmbpf_native.snprintf(text, bytes, format, kvmbpf_native_arguments,    \
				       KVMBPF_NATIVE_COUNT(__VA_ARGS__));               \
	})

/* ---- what kvmbpf_entry.h defines ----------------------------------------- */

#define KVMBPF_DEVICE(device_name, ...) KVMBPF_DESCRIBE(device_name, __VA_ARGS__)

/* Private: one entry; a body that may sleep has another name. */
#define KVMBPF_NATIVE_ENTRY(name, who, may_sleep, argument)				\
	_Static_assert(KVMBPF_DEVICE_comes_first, "");					\
	static int kvmbpf_native_##name##_body(argument);				\
	KVMBPF_NATIVE_EXPORT int kvmbpf_native_##name(struct kvmbpf_native_call *call)	\
	{										\
		struct kvmbpf_access access = {						\
			.offset = call->offset,						\
			.value = call->value,						\
			.len = call->len,						\
			.region = call->region,						\
			.vcpu = call->vcpu,						\
			.entry = (who),							\
			.irqs = kvmbpf_irqs_,						\
			.level_irqs = kvmbpf_level_irqs_,				\
			.sleeps = (may_sleep),						\
		};									\
		int result = kvmbpf_native_##name##_body(&access);			\
											\
		call->value = access.value;						\
		return result;								\
	}										\
	static int kvmbpf_native_##name##_body(argument KVMBPF_UNUSED)

#define KVMBPF_READ(argument) KVMBPF_NATIVE_ENTRY(read, KVMBPF_BY_KERNEL, 0, argument)
#define KVMBPF_WRITE(argument) KVMBPF_NATIVE_ENTRY(write, KVMBPF_BY_KERNEL, 0, argument)
#define KVMBPF_READ_SLEEPABLE(argument) \
	KVMBPF_NATIVE_ENTRY(read_sleepable, KVMBPF_BY_KERNEL, 1, argument)
#define KVMBPF_WRITE_SLEEPABLE(argument) \
	KVMBPF_NATIVE_ENTRY(write_sleepable, KVMBPF_BY_KERNEL, 1, argument)
#define KVMBPF_RESET(argument) \
	KVMBPF_NATIVE_ENTRY(reset, KVMBPF_BY_KERNEL_RESET, 1, argument)

/* ---- what kvmbpf_calls.h defines ----------------------------------------- */

KVMBPF_NATIVE int kvmbpf_irq(struct kvmbpf_access *acc, __u32 index, __u32 level)
{
	(void)acc;
	return kvmbpf_native.irq(index, level);
}

KVMBPF_NATIVE int kvmbpf_guest_read(struct kvmbpf_access *acc, __u64 gpa, void *buffer,
				    __u32 bytes)
{
	(void)acc;
	return bytes ? kvmbpf_native.guest(gpa, buffer, bytes, 0) : -EINVAL;
}

KVMBPF_NATIVE int kvmbpf_guest_write(struct kvmbpf_access *acc, __u64 gpa, void *buffer,
				     __u32 bytes)
{
	(void)acc;
	return bytes ? kvmbpf_native.guest(gpa, buffer, bytes, 1) : -EINVAL;
}

KVMBPF_NATIVE int kvmbpf_kick(struct kvmbpf_access *acc, __u32 vcpu)
{
	return acc->entry == KVMBPF_BY_KERNEL ? kvmbpf_native.kick(vcpu) : -EOPNOTSUPP;
}

KVMBPF_NATIVE int kvmbpf_uclamp(struct kvmbpf_access *acc, __u32 min, __u32 max)
{
	if (acc->entry != KVMBPF_BY_KERNEL)
		return -EOPNOTSUPP;
	return kvmbpf_native.uclamp(acc->vcpu, min, max);
}

KVMBPF_NATIVE __u32 kvmbpf_cpu_freq(struct kvmbpf_access *acc)
{
	return acc->entry == KVMBPF_BY_KERNEL ? kvmbpf_native.frequency(0) : 0;
}

KVMBPF_NATIVE __u32 kvmbpf_cpu_max_freq(struct kvmbpf_access *acc)
{
	return acc->entry == KVMBPF_BY_KERNEL ? kvmbpf_native.frequency(1) : 0;
}

/* ---- what kvmbpf_later.h defines ----------------------------------------- */

/* Private: a timer or a work. */
#define KVMBPF_NATIVE_DEFERRED(variable, tag, body_name)				\
	static void body_name(struct kvmbpf_later *later);				\
	static const struct kvmbpf_native_deferred variable KVMBPF_UNUSED = {		\
		.name = #tag,								\
		.body = body_name,							\
	};										\
	static void body_name(struct kvmbpf_later *later KVMBPF_UNUSED)

#define KVMBPF_TIMER(name) \
	KVMBPF_NATIVE_DEFERRED(kvmbpf_native_timer_##name, name, kvmbpf_body_##name)
#define KVMBPF_WORK(name) \
	KVMBPF_NATIVE_DEFERRED(kvmbpf_native_work_##name, name, kvmbpf_body_##name)

KVMBPF_NATIVE __u32 kvmbpf_native_access_starts(struct kvmbpf_access *acc)
{
	return acc->entry == KVMBPF_BY_KERNEL ? KVMBPF_NATIVE_BY_ACCESS : KVMBPF_NATIVE_BY_OTHER;
}

KVMBPF_NATIVE __u32 kvmbpf_native_later_starts(struct kvmbpf_later *later)
{
	(void)later;
	return KVMBPF_NATIVE_BY_OTHER;
}

/* Private: who starts something. */
#define KVMBPF_NATIVE_STARTER(who)							\
	_Generic((who), struct kvmbpf_later *: kvmbpf_native_later_starts,		\
			struct kvmbpf_access *: kvmbpf_native_access_starts)(who)

#define kvmbpf_timer_start(who, name, ns) \
	kvmbpf_native.timer_start(&kvmbpf_native_timer_##name, ns, KVMBPF_NATIVE_STARTER(who))
#define kvmbpf_timer_cancel(name) kvmbpf_native.timer_cancel(&kvmbpf_native_timer_##name)
#define kvmbpf_work_start(who, name) \
	kvmbpf_native.work_start(&kvmbpf_native_work_##name, KVMBPF_NATIVE_STARTER(who))

KVMBPF_NATIVE int kvmbpf_irq_later(struct kvmbpf_later *later, __u32 index, __u32 level)
{
	(void)later;
	return kvmbpf_native.irq(index, level);
}

KVMBPF_NATIVE int kvmbpf_guest_read_later(struct kvmbpf_later *later, __u64 gpa, void *buffer,
					  __u32 bytes)
{
	(void)later;
	return bytes ? kvmbpf_native.guest(gpa, buffer, bytes, 0) : -EINVAL;
}

KVMBPF_NATIVE int kvmbpf_guest_write_later(struct kvmbpf_later *later, __u64 gpa, void *buffer,
					   __u32 bytes)
{
	(void)later;
	return bytes ? kvmbpf_native.guest(gpa, buffer, bytes, 1) : -EINVAL;
}

/* ---- what kvmbpf_log.h defines ------------------------------------------- */

#define kvmbpf_log(format, ...)								\
	do {										\
		const __u64 kvmbpf_values[] = { KVMBPF_NATIVE_ARGUMENTS(__VA_ARGS__) }; \
		char kvmbpf_text[KVMBPF_LOG_BYTES];					\
											\
		kvmbpf_native.snprintf(kvmbpf_text, sizeof(kvmbpf_text), format,	\
				       kvmbpf_values, KVMBPF_NATIVE_COUNT(__VA_ARGS__)); \
		kvmbpf_native.log("%s",							\
				  (const __u64[]){ (unsigned long)kvmbpf_text }, 1);	\
	} while (0)

#endif /* KVMBPF_NATIVE_H */
