/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The descriptors that the threads of a worker share.
 *
 * Whoever takes one works on a duplicate: another thread may close or exchange
 * the slot's at any time, and still the kind of what is worked on is known, and
 * with it what may come of it. What a device was told is kept with it.
 */
#ifndef FUZZ_POOL_H
#define FUZZ_POOL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <linux/kvm.h>

#include "random.h"

#define POOL_SLOTS 8
#define POOL_HOMES 4 /* memories that the VMs share */

enum pool_kind {
	POOL_VM,
	POOL_VCPU,
	POOL_DEVICE,
	POOL_MAP,
	POOL_LINK,
	POOL_EVENT,
	POOL_KINDS,
};

/* What a device must say of itself: attributes that are set stay as they are. */
struct device_model {
	uint64_t id;
	uint32_t regions_set;
	uint32_t irqs_set;
	struct kvm_bpf_region regions[KVM_DEV_BPF_NR_REGIONS];
	struct kvm_bpf_irq irqs[KVM_DEV_BPF_NR_IRQS];
};

struct ref {
	int fd;
	enum pool_kind kind;
	unsigned int slot;
	unsigned int generation;
	unsigned int home;
	struct device_model model;
};

void pool_init(void);
bool pool_take(enum pool_kind kind, struct rng *rng, struct ref *ref);
bool pool_take_any(struct rng *rng, struct ref *ref);
void pool_release(struct ref *ref);
void pool_put(enum pool_kind kind, struct rng *rng, int fd, unsigned int home,
	      const struct device_model *model);
bool pool_drop(enum pool_kind kind, struct rng *rng);
void pool_learn_region(const struct ref *ref, unsigned int index,
		       const struct kvm_bpf_region *region);
void pool_learn_irq(const struct ref *ref, unsigned int index, const struct kvm_bpf_irq *irq);
pid_t pool_fork(void);
void pool_close_all(struct rng *rng);

#endif /* FUZZ_POOL_H */
