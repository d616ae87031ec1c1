/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvmbpf_access.h - what a body sees of an access, and what it returns
 *
 * Shared by the eBPF build and the native one, and, of struct kvmbpf_call and
 * struct kvmbpf_log_record, with user space.
 */
#ifndef KVMBPF_ACCESS_H
#define KVMBPF_ACCESS_H

#include <linux/types.h>
#include <linux/errno.h>

/* Limits of a device. The note's layout and the kernel's interface share them. */
#define KVMBPF_MAX_REGIONS	8
#define KVMBPF_MAX_IRQS		32
#define KVMBPF_NAME_BYTES	32	/* of a device, program or property, with its NUL */
#define KVMBPF_COMPATIBLE_BYTES	128	/* of all strings, each with its NUL */
#define KVMBPF_VALUE_BYTES	1024	/* of a property's value, with its NUL */
#define KVMBPF_LOG_ARGUMENTS	12	/* of kvmbpf_log(), after the format */
#define KVMBPF_LOG_BYTES	112	/* of a logged text, with its NUL */

/* Private: no warning of what a body or a wrapper has no use for. */
#define KVMBPF_UNUSED __attribute__((unused))

/*
 * What a body returns: 0, or a negative error number. One that is not named
 * here is a fault: a read gives all ones, a write is dropped.
 *
 *	if (acc->offset >= 0x100)
 *		return KVMBPF_DECLINE;
 *	if (acc->len != 4)
 *		return -EIO;
 *	return KVMBPF_ANSWERED;
 */
#define KVMBPF_ANSWERED	0		/* this device answered */
#define KVMBPF_DECLINE	(-EOPNOTSUPP)	/* the access goes on to the VMM */

/*
 * One access, as a body sees it. A read's body stores the answer in value;
 * the low len bytes of it reach the guest. All else is for reading. In the body
 * of KVMBPF_RESET, which answers no access, the five are 0.
 *
 *	KVMBPF_READ(struct kvmbpf_access *acc)
 *	{
 *		acc->value = acc->region << 16 | acc->vcpu;
 *		return acc->offset + acc->len <= 8 ? 0 : KVMBPF_DECLINE;
 *	}
 */
struct kvmbpf_access {
	__u64 offset;	/* in the region, in bytes or ports */
	__u64 value;	/* written by the guest, or the answer; host byte order */
	__u32 len;	/* 1 to 8 bytes; odd ones come from accesses that cross a page */
	__u32 region;	/* index in .regions */
	__u32 vcpu;	/* id of the vCPU that made the access */
	/* private: */
	__u32 sleeps;	/* the body may sleep */
	__u64 entry;	/* enum kvmbpf_entry: who called */
	__u32 irqs;	/* how many the device has */
	__u32 level_irqs; /* which of them are level-triggered */
	void *handle;	/* what the entry was called with */
};

/*
 * Private: who called a body. It is kept in 8 bytes: of smaller ones on the stack
 * the verifier does not remember the value, and with it which functions may be
 * called, when a function of the author's is given the access.
 */
enum kvmbpf_entry {
	KVMBPF_BY_KERNEL,	/* KVM, for an access; handle is its access */
	KVMBPF_BY_KERNEL_RESET,	/* KVM, for a reset; handle is its device */
	KVMBPF_BY_CALL,		/* a VMM, for an access; handle is its struct kvmbpf_call */
	KVMBPF_BY_CALL_RESET,	/* a VMM, for a reset; likewise */
};

/*
 * What the body of a KVMBPF_TIMER or KVMBPF_WORK sees; it is all private, and
 * given to what may be called there.
 *
 *	KVMBPF_TIMER(tick)
 *	{
 *		kvmbpf_irq_later(later, 0, 1);
 *	}
 */
struct kvmbpf_later {
	__u64 entry;	/* enum kvmbpf_entry: who called what started it */
	__u64 sleeps;	/* the body may sleep */
	void *device;	/* the kernel's device */
};

/*
 * The context of the SEC("syscall") programs kvmbpf_call_read,
 * kvmbpf_call_write and kvmbpf_call_reset, which BPF_PROG_TEST_RUN copies in
 * and out. The caller runs the programs of one device one at a time, unless it
 * is KVMBPF_CONCURRENT. It gives what comes before `value`, and that for a write,
 * with zeroes beyond len; a reset is given zeroes. The rest is the program's.
 */
struct kvmbpf_call {
	__u32 region;
	__u32 len;
	__u32 vcpu;
	__u32 flags;	/* 0 */
	__u64 offset;
	__u64 value;	/* of a read: the answer if result is 0 */
	__s32 result;	/* what the body returned */
	__u32 irqs;	/* bit i: irq i was set in this call ... */
	__u32 levels;	/* ... bit i: to this level, last; of an edge, always 1 */
	__u32 reserved;
};

/* A record in the ring buffer kvmbpf_log_ring. */
struct kvmbpf_log_record {
	__u64 time_ns;	/* CLOCK_MONOTONIC */
	__u32 length;	/* of the text, in bytes without its NUL */
	__u32 reserved;	/* 0 */
	char text[KVMBPF_LOG_BYTES];
};

_Static_assert(sizeof(struct kvmbpf_call) == 48, "the call's context is 48 bytes");
_Static_assert(sizeof(struct kvmbpf_log_record) == 128, "a log record is 128 bytes");

#endif /* KVMBPF_ACCESS_H */
