/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvmbpf_entry.h - from an author's bodies to the programs of both kinds
 *
 * Problem: KVM of a patched kernel calls a struct_ops program with its own
 * structure, a VMM on a stock kernel a SEC("syscall") program with struct
 * kvmbpf_call. An author should write one body for both.
 * Approach: each macro makes two programs around one inlined body. Both copy
 * what they are called with into struct kvmbpf_access, which also remembers
 * who called; that is a constant in each program, so that what the other kind
 * calls is not even compiled into it. The loader leaves out one kind.
 * Obsolete when: all hosts have the series of kernel_patches/, for one half.
 */
#ifndef KVMBPF_ENTRY_H
#define KVMBPF_ENTRY_H

#include "kvmbpf_note.h"
#include "kvmbpf_kernel.h"

int kvmbpf_read(__u64 *ctx);
int kvmbpf_write(__u64 *ctx);
int kvmbpf_reset(__u64 *ctx);

/* KVMBPF_DEVICE(name, ...): see kvmbpf_note.h, which explains the fields. */
#define KVMBPF_DEVICE(device_name, ...)						\
	KVMBPF_DESCRIBE(device_name, __VA_ARGS__);				\
	char kvmbpf_license[] SEC("license") = "GPL";				\
	SEC(".struct_ops.link") struct kvm_bpf_ops kvmbpf_ops = {		\
		.read = (void *)kvmbpf_read,					\
		.write = (void *)kvmbpf_write,					\
		.reset = kvmbpf_flags_ & KVMBPF_RESETS ? (void *)kvmbpf_reset : (void *)0, \
		.flags = kvmbpf_flags_ & KVMBPF_CONCURRENT ? KVM_BPF_OPS_CONCURRENT : 0, \
	}

/*
 * KVMBPF_READ(struct kvmbpf_access *acc) { body }: answer the guest's reads.
 *
 *	KVMBPF_READ(struct kvmbpf_access *acc)
 *	{
 *		acc->value = acc->offset == 0 ? 0x1234 : 0;
 *		return 0;
 *	}
 */
#define KVMBPF_READ(argument) KVMBPF_READ_AS("struct_ops/kvmbpf_read", 0, argument)

/*
 * KVMBPF_READ_SLEEPABLE(struct kvmbpf_access *acc) { body }: the same, and the
 * body may sleep, as to access guest memory. A body that does not need to is
 * faster as KVMBPF_READ. Needs a kernel that KVMBPF_READ does not.
 *
 *	KVMBPF_READ_SLEEPABLE(struct kvmbpf_access *acc)
 *	{
 *		return kvmbpf_guest_read(acc, 0x1000 + acc->offset, &acc->value, 8);
 *	}
 */
#define KVMBPF_READ_SLEEPABLE(argument) KVMBPF_READ_AS("struct_ops.s/kvmbpf_read", 1, argument)

/*
 * KVMBPF_WRITE(struct kvmbpf_access *acc) { body }: answer the guest's writes.
 *
 *	__u64 last;
 *
 *	KVMBPF_WRITE(struct kvmbpf_access *acc)
 *	{
 *		last = acc->value;
 *		return 0;
 *	}
 */
#define KVMBPF_WRITE(argument) KVMBPF_WRITE_AS("struct_ops/kvmbpf_write", 0, argument)

/*
 * KVMBPF_WRITE_SLEEPABLE(struct kvmbpf_access *acc) { body }: the same, and the
 * body may sleep.
 *
 *	KVMBPF_WRITE_SLEEPABLE(struct kvmbpf_access *acc)
 *	{
 *		__u32 done = 1;
 *
 *		return kvmbpf_guest_write(acc, acc->value, &done, sizeof(done));
 *	}
 */
#define KVMBPF_WRITE_SLEEPABLE(argument) KVMBPF_WRITE_AS("struct_ops.s/kvmbpf_write", 1, argument)

/*
 * KVMBPF_RESET(struct kvmbpf_access *acc) { body }: bring the device to the
 * state that it has after power-on. The device has .flags = KVMBPF_RESETS. It is
 * called when the guest is reset, with its interrupts deasserted; it may sleep.
 * Returns 0, or a negative error number for who asked for the reset.
 *
 *	KVMBPF_DEVICE(latch, .compatible = "acme,latch", .regions = { KVMBPF_MMIO(8) },
 *		      .flags = KVMBPF_RESETS);
 *
 *	__u64 latched;
 *
 *	KVMBPF_RESET(struct kvmbpf_access *acc)
 *	{
 *		latched = 0;
 *		return 0;
 *	}
 */
#define KVMBPF_RESET(argument)							\
	_Static_assert(KVMBPF_DEVICE_comes_first, "");				\
	_Static_assert(kvmbpf_flags_ & KVMBPF_RESETS,				\
		       "a device with KVMBPF_RESET has .flags = KVMBPF_RESETS"); \
	static __always_inline int kvmbpf_reset_body(argument);			\
	SEC("struct_ops.s/kvmbpf_reset") int kvmbpf_reset(__u64 *ctx)		\
	{									\
		struct kvmbpf_access access = {					\
			.entry = KVMBPF_BY_KERNEL_RESET,			\
			.sleeps = 1,						\
			.handle = (void *)ctx[0],				\
		};								\
										\
		return kvmbpf_reset_body(&access);				\
	}									\
	SEC("syscall") int kvmbpf_call_reset(struct kvmbpf_call *call)		\
	{									\
		struct kvmbpf_access access =					\
			kvmbpf_from_call(call, KVMBPF_BY_CALL_RESET, 1, KVMBPF_OF_DEVICE); \
		int result = kvmbpf_reset_body(&access);			\
										\
		call->result = result;						\
		return result;							\
	}									\
	static __always_inline int kvmbpf_reset_body(argument KVMBPF_UNUSED)

/* ---- private: the programs around a body -------------------------------- */

/* What is said of the device by KVMBPF_DEVICE, for the two functions below. */
#define KVMBPF_OF_DEVICE kvmbpf_irqs_, kvmbpf_level_irqs_

static __always_inline struct kvmbpf_access
kvmbpf_from_kernel(struct kvm_bpf_access *from, __u32 sleeps, __u32 irqs, __u32 level_irqs)
{
	struct kvmbpf_access acc = {
		.offset = from->offset,
		.len = from->len,
		.region = from->region,
		.vcpu = from->vcpu_id,
		.entry = KVMBPF_BY_KERNEL,
		.irqs = irqs,
		.level_irqs = level_irqs,
		.sleeps = sleeps,
		.handle = from,
	};

	return acc;
}

/*
 * A call's program may always sleep, and cannot do what that allows; `sleeps` is
 * the other kind's, so that both compile or neither does.
 */
static __always_inline struct kvmbpf_access
kvmbpf_from_call(struct kvmbpf_call *from, enum kvmbpf_entry entry, __u32 sleeps, __u32 irqs,
		 __u32 level_irqs)
{
	struct kvmbpf_access acc = {
		.offset = from->offset,
		.len = from->len,
		.region = from->region,
		.vcpu = from->vcpu,
		.entry = entry,
		.irqs = irqs,
		.level_irqs = level_irqs,
		.sleeps = sleeps,
		.handle = from,
	};

	from->irqs = 0;
	from->levels = 0;
	return acc;
}

#define KVMBPF_READ_AS(section_name, sleeps, argument)				\
	_Static_assert(KVMBPF_DEVICE_comes_first, "");			\
	static __always_inline int kvmbpf_read_body(argument);			\
	SEC(section_name) int kvmbpf_read(__u64 *ctx)				\
	{									\
		struct kvm_bpf_access *from = (void *)ctx[0];			\
		struct kvmbpf_access access =					\
			kvmbpf_from_kernel(from, sleeps, KVMBPF_OF_DEVICE);	\
		int result = kvmbpf_read_body(&access);				\
										\
		if (result == KVMBPF_ANSWERED)					\
			from->value = access.value;				\
		return result;							\
	}									\
	SEC("syscall") int kvmbpf_call_read(struct kvmbpf_call *call)		\
	{									\
		struct kvmbpf_access access =					\
			kvmbpf_from_call(call, KVMBPF_BY_CALL, sleeps, KVMBPF_OF_DEVICE); \
		int result = kvmbpf_read_body(&access);				\
										\
		if (result == KVMBPF_ANSWERED)					\
			call->value = access.value;				\
		call->result = result;						\
		return result;							\
	}									\
	static __always_inline int kvmbpf_read_body(argument KVMBPF_UNUSED)

#define KVMBPF_WRITE_AS(section_name, sleeps, argument)				\
	_Static_assert(KVMBPF_DEVICE_comes_first, "");			\
	static __always_inline int kvmbpf_write_body(argument);			\
	SEC(section_name) int kvmbpf_write(__u64 *ctx)				\
	{									\
		struct kvm_bpf_access *from = (void *)ctx[0];			\
		struct kvmbpf_access access =					\
			kvmbpf_from_kernel(from, sleeps, KVMBPF_OF_DEVICE);	\
										\
		access.value = from->value;					\
		return kvmbpf_write_body(&access);				\
	}									\
	SEC("syscall") int kvmbpf_call_write(struct kvmbpf_call *call)		\
	{									\
		struct kvmbpf_access access =					\
			kvmbpf_from_call(call, KVMBPF_BY_CALL, sleeps, KVMBPF_OF_DEVICE); \
		int result;							\
										\
		access.value = call->value;					\
		result = kvmbpf_write_body(&access);				\
		call->result = result;						\
		return result;							\
	}									\
	static __always_inline int kvmbpf_write_body(argument KVMBPF_UNUSED)

#endif /* KVMBPF_ENTRY_H */
