/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvmbpf_calls.h - what a body may do besides answering
 *
 * Each function takes the access, which knows who called the body, and does
 * it by KVM's functions or, as far as that can be, through the context of the
 * call. What a stock kernel cannot do is -EOPNOTSUPP there; a body that returns
 * that declines the access, and the VMM gets it.
 */
#ifndef KVMBPF_CALLS_H
#define KVMBPF_CALLS_H

#include "kvmbpf_access.h"
#include "kvmbpf_kernel.h"

/* Private: what the compiler says of a body that calls what sleeps, and may not. */
void kvmbpf_must_be_sleepable(void) __attribute__((error(
	"this may sleep: call it from KVMBPF_READ_SLEEPABLE, KVMBPF_WRITE_SLEEPABLE, "
	"KVMBPF_RESET or KVMBPF_WORK")));

/* Private: refuse to compile where it is known that the body may not sleep. */
#define KVMBPF_MAY_SLEEP(who)							\
	do {									\
		if (__builtin_constant_p((who)->sleeps) && !(who)->sleeps)	\
			kvmbpf_must_be_sleepable();				\
	} while (0)

/* Private: an interrupt that the caller of a SEC("syscall") program is told of. */
static __always_inline int kvmbpf_call_irq(struct kvmbpf_access *acc, __u32 index, __u32 level)
{
	struct kvmbpf_call *call = acc->handle;
	__u32 bit = 1U << (index & (KVMBPF_MAX_IRQS - 1));

	if (index >= KVMBPF_MAX_IRQS)
		return -EINVAL;
	if (index >= acc->irqs)
		return -ENOENT;
	if (!level && !(acc->level_irqs & bit))
		return 0;

	call->irqs |= bit;
	if (level)
		call->levels |= bit;
	else
		call->levels &= ~bit;
	return 0;
}

/*
 * kvmbpf_irq(acc, index, level): set interrupt `index` of the device. For an
 * edge-triggered one any level but 0 raises it once; for a level-triggered one
 * level is the line's new state. Returns 0; -EINVAL or -ENOENT if the device has
 * no such irq; -ENODEV if it is being detached.
 *
 *	KVMBPF_WRITE(struct kvmbpf_access *acc)
 *	{
 *		return kvmbpf_irq(acc, 0, 1);
 *	}
 */
static __always_inline int kvmbpf_irq(struct kvmbpf_access *acc, __u32 index, __u32 level)
{
	if (acc->entry == KVMBPF_BY_KERNEL)
		return kvm_bpf_set_irq(acc->handle, index, level);
	if (acc->entry == KVMBPF_BY_KERNEL_RESET)
		return kvm_bpf_device_set_irq(acc->handle, index, level);
	return kvmbpf_call_irq(acc, index, level);
}

/*
 * kvmbpf_guest_read(acc, gpa, buffer, bytes): read guest memory, in a body that
 * may sleep. gpa is the guest physical address; bytes is at least 1, and as
 * large as the verifier can see that buffer is. Returns 0; -EINVAL for no bytes;
 * -EFAULT if there is no memory; -ENODEV if the device is being detached;
 * -EOPNOTSUPP on a stock kernel. After an error some bytes may have been read.
 *
 *	KVMBPF_READ_SLEEPABLE(struct kvmbpf_access *acc)
 *	{
 *		__u64 word = 0;
 *		int result = kvmbpf_guest_read(acc, 0x1000, &word, sizeof(word));
 *
 *		acc->value = word;
 *		return result;
 *	}
 */
#define kvmbpf_guest_read(acc, gpa, buffer, bytes)				\
	({									\
		KVMBPF_MAY_SLEEP(acc);						\
		kvmbpf_guest_read_by(acc, gpa, buffer, bytes);			\
	})

/*
 * kvmbpf_guest_write(acc, gpa, buffer, bytes): write it; all else is the same.
 *
 *	KVMBPF_WRITE_SLEEPABLE(struct kvmbpf_access *acc)
 *	{
 *		__u32 answer = acc->len;
 *
 *		return kvmbpf_guest_write(acc, 0x1000, &answer, sizeof(answer));
 *	}
 */
#define kvmbpf_guest_write(acc, gpa, buffer, bytes)				\
	({									\
		KVMBPF_MAY_SLEEP(acc);						\
		kvmbpf_guest_write_by(acc, gpa, buffer, bytes);			\
	})

static __always_inline int kvmbpf_guest_read_by(struct kvmbpf_access *acc, __u64 gpa,
						void *buffer, __u32 bytes)
{
	struct kvm_bpf_device *dev;
	int result;

	if (acc->entry != KVMBPF_BY_KERNEL && acc->entry != KVMBPF_BY_KERNEL_RESET)
		return -EOPNOTSUPP;
	if (!bytes)
		return -EINVAL;
	if (acc->entry == KVMBPF_BY_KERNEL_RESET)
		return kvm_bpf_read_guest(acc->handle, gpa, buffer, bytes);

	dev = kvm_bpf_device_acquire(acc->handle);
	result = kvm_bpf_read_guest(dev, gpa, buffer, bytes);
	kvm_bpf_device_release(dev);
	return result;
}

static __always_inline int kvmbpf_guest_write_by(struct kvmbpf_access *acc, __u64 gpa,
						 void *buffer, __u32 bytes)
{
	struct kvm_bpf_device *dev;
	int result;

	if (acc->entry != KVMBPF_BY_KERNEL && acc->entry != KVMBPF_BY_KERNEL_RESET)
		return -EOPNOTSUPP;
	if (!bytes)
		return -EINVAL;
	if (acc->entry == KVMBPF_BY_KERNEL_RESET)
		return kvm_bpf_write_guest(acc->handle, gpa, buffer, bytes);

	dev = kvm_bpf_device_acquire(acc->handle);
	result = kvm_bpf_write_guest(dev, gpa, buffer, bytes);
	kvm_bpf_device_release(dev);
	return result;
}

/*
 * kvmbpf_kick(acc, vcpu): make the vCPU with this id leave the guest; a halted
 * one wakes up. In the body of a read or write. Returns 0; -ENOENT if there is
 * no such vCPU; -EOPNOTSUPP in a reset and on a stock kernel.
 *
 *	KVMBPF_WRITE(struct kvmbpf_access *acc)
 *	{
 *		return kvmbpf_kick(acc, acc->value);
 *	}
 */
static __always_inline int kvmbpf_kick(struct kvmbpf_access *acc, __u32 vcpu)
{
	if (acc->entry != KVMBPF_BY_KERNEL)
		return -EOPNOTSUPP;
	return kvm_bpf_kick_vcpu(acc->handle, vcpu);
}

/*
 * kvmbpf_uclamp(acc, min, max): set the utilisation clamps of the thread of the
 * vCPU that made the access, each 0 to 1024, in a body that may sleep. They stay
 * when the device goes. Returns 0; -EINVAL if they are out of range or in the
 * wrong order; -EOPNOTSUPP in a reset, and on a kernel that has no clamps or is a
 * stock one.
 *
 *	KVMBPF_WRITE_SLEEPABLE(struct kvmbpf_access *acc)
 *	{
 *		return kvmbpf_uclamp(acc, acc->value, 1024);
 *	}
 */
#define kvmbpf_uclamp(acc, min, max)						\
	({									\
		KVMBPF_MAY_SLEEP(acc);						\
		kvmbpf_uclamp_by(acc, min, max);				\
	})

static __always_inline int kvmbpf_uclamp_by(struct kvmbpf_access *acc, __u32 min, __u32 max)
{
	if (acc->entry != KVMBPF_BY_KERNEL)
		return -EOPNOTSUPP;
	return kvm_bpf_set_uclamp(acc->handle, min, max);
}

/*
 * kvmbpf_cpu_freq(acc), kvmbpf_cpu_max_freq(acc): the present and the highest
 * frequency, in kHz, of the CPU that the vCPU runs on; 0 if it is not known, as
 * in a reset and on a stock kernel.
 *
 *	KVMBPF_READ(struct kvmbpf_access *acc)
 *	{
 *		acc->value = acc->offset ? kvmbpf_cpu_max_freq(acc) : kvmbpf_cpu_freq(acc);
 *		return 0;
 *	}
 */
static __always_inline __u32 kvmbpf_cpu_freq(struct kvmbpf_access *acc)
{
	return acc->entry == KVMBPF_BY_KERNEL ? kvm_bpf_cpu_freq(acc->handle) : 0;
}

static __always_inline __u32 kvmbpf_cpu_max_freq(struct kvmbpf_access *acc)
{
	return acc->entry == KVMBPF_BY_KERNEL ? kvm_bpf_cpu_max_freq(acc->handle) : 0;
}

#endif /* KVMBPF_CALLS_H */
