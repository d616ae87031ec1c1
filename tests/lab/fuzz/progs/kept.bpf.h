/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A slot that keeps a device, with a timer and a work beside it. All devices
 * of an object share it: which one a callback finds is chance, and its VM may
 * be gone.
 */
#ifndef FUZZ_KEPT_BPF_H
#define FUZZ_KEPT_BPF_H

#include "fuzz.bpf.h"

/* Without it clang before 15 forgets the tag of a pointer to a structure. */
typedef struct kvm_bpf_device kept_device;

struct slot {
	struct bpf_timer timer;
	struct bpf_wq work;
	kept_device __kptr *dev;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, int);
	__type(value, struct slot);
} slots SEC(".maps");

static __always_inline struct slot *get_slot(void)
{
	int key = 0;

	return bpf_map_lookup_elem(&slots, &key);
}

static __always_inline void put_back(struct slot *slot, struct kvm_bpf_device *dev)
{
	dev = bpf_kptr_xchg(&slot->dev, dev);
	if (dev)
		kvm_bpf_device_release(dev);
}

static __always_inline void keep(struct slot *slot, struct kvm_bpf_access *acc)
{
	put_back(slot, kvm_bpf_device_acquire(acc));
}

static __always_inline int set_irq_of_kept(struct slot *slot)
{
	struct kvm_bpf_device *dev = bpf_kptr_xchg(&slot->dev, NULL);
	int r;

	if (!dev)
		return 0;

	r = kvm_bpf_device_set_irq(dev, steer.irq, steer.level);
	put_back(slot, dev);
	return r;
}

/* The context must be one that may sleep. */
static __always_inline int access_memory(struct kvm_bpf_device *dev)
{
	char data[FUZZ_DATA_BYTES] = {};
	/* As the verifier wants to see it: 1 to all. */
	__u32 len = (steer.len & (FUZZ_DATA_BYTES - 1)) + 1;

	if (steer.choice & 1)
		return kvm_bpf_write_guest(dev, steer.gpa, data, len);

	return kvm_bpf_read_guest(dev, steer.gpa, data, len);
}

static __always_inline int access_memory_of_kept(struct slot *slot)
{
	struct kvm_bpf_device *dev = bpf_kptr_xchg(&slot->dev, NULL);
	int r;

	if (!dev)
		return 0;

	r = access_memory(dev);
	put_back(slot, dev);
	return r;
}

#endif /* FUZZ_KEPT_BPF_H */
