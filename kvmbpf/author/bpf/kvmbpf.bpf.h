/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvmbpf.bpf.h - what a device author includes
 *
 * Problem: a device model should be one file that says both what the device
 * is (name, regions, interrupts) and how it answers an access, without its
 * author knowing the kernel's structures.
 * Approach: KVMBPF_DEVICE() writes the description into an ELF note, and
 * KVMBPF_READ(), KVMBPF_WRITE() and KVMBPF_RESET() wrap the author's bodies
 * into programs of two kinds: struct_ops ones, which KVM of a patched kernel
 * calls inside the exit, and SEC("syscall") ones, which a VMM on a stock kernel
 * runs when the exit comes to it. Bodies see struct kvmbpf_access, which is ours
 * and stays; the kernel's own structures appear in the wrappers only.
 * Obsolete when: never; new kernel interfaces get new wrappers here.
 *
 * A whole device:
 *
 *	#include <kvmbpf.bpf.h>
 *
 *	KVMBPF_DEVICE(counter, .compatible = "kvmbpf,counter",
 *		      .regions = { KVMBPF_MMIO(0x1000) }, .irqs = 1);
 *
 *	__u64 count;
 *
 *	KVMBPF_READ(struct kvmbpf_access *acc)
 *	{
 *		if (acc->offset != 0)
 *			return KVMBPF_DECLINE;
 *		acc->value = count;
 *		return 0;
 *	}
 *
 *	KVMBPF_WRITE(struct kvmbpf_access *acc)
 *	{
 *		count += acc->value;
 *		return kvmbpf_irq(acc, 0, 1);
 *	}
 *
 * Global variables are the device's state: they survive a hot update to an
 * object that has the same ones. A device has both a KVMBPF_READ and a
 * KVMBPF_WRITE; one that serves reads only returns KVMBPF_DECLINE from the
 * other. A function of the author's own that is given the access is static.
 * Compile with `kvmbpf build`, or with clang 14 or newer and
 * -target bpf -mcpu=v3 -O2 -g.
 *
 * What there is, and the file that explains it:
 *
 *	kvmbpf_access.h	struct kvmbpf_access, what bodies return, limits
 *	kvmbpf_note.h	KVMBPF_DEVICE and its regions, KVMBPF_PROPERTY; the
 *			note's layout
 *	kvmbpf_entry.h	KVMBPF_READ, KVMBPF_WRITE, KVMBPF_READ_SLEEPABLE,
 *			KVMBPF_WRITE_SLEEPABLE, KVMBPF_RESET
 *	kvmbpf_calls.h	kvmbpf_irq(), guest memory, hints to the scheduler
 *	kvmbpf_later.h	KVMBPF_TIMER and KVMBPF_WORK, and what is called there
 *	kvmbpf_log.h	kvmbpf_log()
 *	kvmbpf_kernel.h	the kernel's structures and functions; not for authors
 *	kvmbpf_native.h	the same macros for a build that is no eBPF: unit tests
 *			of a device, on any machine
 */
#ifndef KVMBPF_BPF_H
#define KVMBPF_BPF_H

#include "kvmbpf_access.h"
#include "kvmbpf_note.h"

#ifdef __bpf__
#include "kvmbpf_kernel.h"
#include "kvmbpf_entry.h"
#include "kvmbpf_calls.h"
#include "kvmbpf_later.h"
#include "kvmbpf_log.h"
#else
#include "kvmbpf_native.h"
#endif

#endif /* KVMBPF_BPF_H */
