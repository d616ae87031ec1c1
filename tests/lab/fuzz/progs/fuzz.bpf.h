/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the fuzzer's device programs have in common: the kernel's structures
 * and functions, the steering variable, and a slot that keeps a device.
 *
 * They do without kvmbpf.bpf.h: what authors must not do is wanted here, such
 * as a device that is kept over the end of its VM.
 */
#ifndef FUZZ_BPF_H
#define FUZZ_BPF_H

#include <linux/types.h>
#include <linux/bpf.h>
#include <linux/version.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_helpers.h>
#include "../steer.h"

#define FUZZ_MONOTONIC 1 /* CLOCK_MONOTONIC */
#define FUZZ_DECLINE   (-95)

/*
 * Opaque, but defined, and in the object's BTF for that: libbpf compares it with
 * the kernel's by its kind.
 */
struct kvm_bpf_device {
};

struct kvm_bpf_access {
	struct kvm_bpf_device *dev;
	__u64 offset;
	__u64 value;
	__u32 len;
	__u32 region;
	__u32 vcpu_id;
} __attribute__((preserve_access_index));

struct kvm_bpf_ops {
	int (*read)(struct kvm_bpf_access *acc);
	int (*write)(struct kvm_bpf_access *acc);
	int (*reset)(struct kvm_bpf_device *dev);
	__s32 device_fd;
	__u32 flags;
};

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 10, 0)
struct bpf_wq {
	__u64 __opaque[2];
} __attribute__((aligned(8)));
#endif

extern int kvm_bpf_set_irq(struct kvm_bpf_access *acc, __u32 irq, __u32 level) __ksym;
extern int kvm_bpf_device_set_irq(struct kvm_bpf_device *dev, __u32 irq, __u32 level) __ksym;
extern struct kvm_bpf_device *kvm_bpf_device_acquire(struct kvm_bpf_access *acc) __ksym;
extern void kvm_bpf_device_release(struct kvm_bpf_device *dev) __ksym;
extern int kvm_bpf_read_guest(struct kvm_bpf_device *dev, __u64 gpa, void *data,
			      __u32 data__sz) __ksym;
extern int kvm_bpf_write_guest(struct kvm_bpf_device *dev, __u64 gpa, void *data,
			       __u32 data__sz) __ksym;
extern int kvm_bpf_kick_vcpu(struct kvm_bpf_access *acc, __u32 vcpu_id) __ksym;
extern int kvm_bpf_set_uclamp(struct kvm_bpf_access *acc, __u32 min, __u32 max) __ksym;
extern __u32 kvm_bpf_cpu_freq(struct kvm_bpf_access *acc) __ksym;
extern __u32 kvm_bpf_cpu_max_freq(struct kvm_bpf_access *acc) __ksym;
extern int bpf_wq_init(struct bpf_wq *wq, void *map, unsigned int flags) __ksym;
extern int bpf_wq_start(struct bpf_wq *wq, unsigned int flags) __ksym;
extern int bpf_wq_set_callback_impl(struct bpf_wq *wq, int (*callback)(void *, int *, void *),
				    unsigned int flags, void *aux) __ksym;

char LICENSE[] SEC("license") = "GPL";

struct fuzz_steer steer;

struct {
	struct kvm_bpf_device device;
	int unused;
} kinds SEC(".data.kinds");

static __always_inline void ran(enum fuzz_run what)
{
	__sync_fetch_and_add(&steer.runs[what], 1);
}

#define FUZZ_ACCESS(ctx) ((struct kvm_bpf_access *)(ctx)[0])

/* What an object is loaded for: programs of these names, in this map. */
#define FUZZ_OPS(...)                                                                              \
	SEC(".struct_ops.link")                                                                    \
	struct kvm_bpf_ops fuzz_ops = { .read = (void *)read_it,                                   \
					.write = (void *)write_it,                                 \
					__VA_ARGS__ }

#endif /* FUZZ_BPF_H */
