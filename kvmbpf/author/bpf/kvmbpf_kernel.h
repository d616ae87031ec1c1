/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvmbpf_kernel.h - the kernel's structures and functions; not for authors
 *
 * Problem: the programs need types and kfuncs of a kernel that is not the one
 * they are compiled on, and must load on one that lacks them.
 * Approach: the structures are written down here, of the members that are used,
 * and relocated when the program is loaded (CO-RE); vmlinux.h would not do, as
 * it lacks them where KVM is a module. The functions are weak: those that the
 * running kernel lacks are left unresolved, which the verifier takes as long as
 * it never gets to a call of one.
 * Obsolete when: the series of kernel_patches/ is in the headers of all kernels
 * that matter.
 *
 * Sources: virt/kvm/kvm_bpf.h and kvm_bpf_kfuncs.c of kernel_patches/;
 * kernel/bpf/helpers.c, v6.12.
 */
#ifndef KVMBPF_KERNEL_H
#define KVMBPF_KERNEL_H

#include <linux/bpf.h>
#include <linux/version.h>
#include <bpf/bpf_helpers.h>

/*
 * Opaque, but not incomplete: neither libbpf, of a kfunc's argument, nor the
 * verifier, of a kptr, takes such a type for the kernel's.
 */
struct kvm_bpf_device {
};

/*
 * For members. Clang before 15 makes an incomplete type of a structure that it
 * first sees behind a member, and loses the tag of a kptr.
 */
typedef struct kvm_bpf_device kvmbpf_kernel_device;

struct kvm_bpf_access {
	kvmbpf_kernel_device *dev;
	__u64 offset;
	__u64 value;
	__u32 len;
	__u32 region;
	__u32 vcpu_id;
} __attribute__((preserve_access_index));

#define KVM_BPF_OPS_CONCURRENT 0x1

struct kvm_bpf_ops {
	int (*read)(struct kvm_bpf_access *acc);
	int (*write)(struct kvm_bpf_access *acc);
	int (*reset)(kvmbpf_kernel_device *dev);
	__s32 device_fd;	/* the loader sets it before it attaches */
	__u32 flags;
};

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 10, 0)
struct bpf_wq {
	__u64 __opaque[2];
} __attribute__((aligned(8)));
#endif

#define KVMBPF_KFUNC extern __weak __ksym

KVMBPF_KFUNC int kvm_bpf_set_irq(struct kvm_bpf_access *acc, __u32 irq, __u32 level);
KVMBPF_KFUNC int kvm_bpf_device_set_irq(struct kvm_bpf_device *dev, __u32 irq, __u32 level);
KVMBPF_KFUNC struct kvm_bpf_device *kvm_bpf_device_acquire(struct kvm_bpf_access *acc);
KVMBPF_KFUNC void kvm_bpf_device_release(struct kvm_bpf_device *dev);
KVMBPF_KFUNC int kvm_bpf_read_guest(struct kvm_bpf_device *dev, __u64 gpa, void *data,
				    __u32 data__sz);
KVMBPF_KFUNC int kvm_bpf_write_guest(struct kvm_bpf_device *dev, __u64 gpa, void *data,
				     __u32 data__sz);
KVMBPF_KFUNC int kvm_bpf_kick_vcpu(struct kvm_bpf_access *acc, __u32 vcpu_id);
KVMBPF_KFUNC int kvm_bpf_set_uclamp(struct kvm_bpf_access *acc, __u32 min, __u32 max);
KVMBPF_KFUNC __u32 kvm_bpf_cpu_freq(struct kvm_bpf_access *acc);
KVMBPF_KFUNC __u32 kvm_bpf_cpu_max_freq(struct kvm_bpf_access *acc);

KVMBPF_KFUNC int bpf_wq_init(struct bpf_wq *wq, void *map, unsigned int flags);
KVMBPF_KFUNC int bpf_wq_start(struct bpf_wq *wq, unsigned int flags);
KVMBPF_KFUNC int bpf_wq_set_callback_impl(struct bpf_wq *wq,
					  int (*callback)(void *map, int *key, void *value),
					  unsigned int flags, void *aux);

/*
 * Whether the running kernel has a kfunc. The barrier keeps clang from using
 * what it believes to know of a function's address.
 */
#define KVMBPF_HAS(kfunc)							\
	({									\
		void *kvmbpf_address = (void *)(kfunc);				\
										\
		asm volatile("" : "+r"(kvmbpf_address));			\
		kvmbpf_address != 0;						\
	})

#endif /* KVMBPF_KERNEL_H */
