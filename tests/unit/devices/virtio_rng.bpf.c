// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A virtio entropy device behind virtio-mmio, for the kernel's virtio-rng
 *
 * Written from kvmbpf.bpf.h, docs/devices.md and the virtio specification alone,
 * to see that they suffice. One split queue; a notification serves all buffers
 * that are there, in the exit.
 */
#include <linux/virtio_mmio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <kvmbpf.bpf.h>

KVMBPF_DEVICE(virtio_rng, .compatible = "virtio,mmio", .regions = { KVMBPF_MMIO(0x200) }, .irqs = 1,
	      .level_irqs = 1, .flags = KVMBPF_RESETS);

#define MAGIC     0x74726976
#define ENTROPY   4
#define QUEUE_MAX 16
#define AT_ONCE   64 /* bytes for one buffer; a driver asks again */

struct rng {
	__u32 status, interrupts;
	__u32 features_select;
	__u32 number, ready;
	__u64 descriptors, available, used;
	__u16 seen;
};

struct rng rng;
__u64 buffers; /* served */

struct element {
	__u32 id, length;
};

static __always_inline void half(__u64 *to, __u32 high, __u32 value)
{
	*to = high ? (__u32)*to | (__u64)value << 32 : (*to >> 32) << 32 | value;
}

/* Fill one buffer; return how many bytes, or an error. */
static __always_inline int fill(struct kvmbpf_access *acc, struct vring_desc *descriptor)
{
	__u32 bytes = descriptor->len < AT_ONCE ? descriptor->len : AT_ONCE;
	__u32 random[AT_ONCE / 4];
	int i, result;

	if (!(descriptor->flags & VRING_DESC_F_WRITE) || bytes == 0)
		return 0;
	for (i = 0; i < AT_ONCE / 4; i++)
		random[i] = bpf_get_prandom_u32();
	result = kvmbpf_guest_write(acc, descriptor->addr, random, bytes);
	return result ? result : (int)bytes;
}

static __always_inline int serve_one(struct kvmbpf_access *acc)
{
	__u32 slot = rng.seen & (QUEUE_MAX - 1) & (rng.number - 1);
	struct vring_desc descriptor;
	struct element element;
	__u16 head = 0, next;
	int result;

	result = kvmbpf_guest_read(acc, rng.available + 4 + slot * 2, &head, sizeof(head));
	if (result)
		return result;
	result = kvmbpf_guest_read(acc, rng.descriptors + head * 16, &descriptor,
				   sizeof(descriptor));
	if (result)
		return result;
	result = fill(acc, &descriptor);
	if (result < 0)
		return result;

	element.id = head;
	element.length = result;
	result = kvmbpf_guest_write(acc, rng.used + 4 + slot * 8, &element, sizeof(element));
	if (result)
		return result;
	next = ++rng.seen;
	buffers++;
	return kvmbpf_guest_write(acc, rng.used + 2, &next, sizeof(next));
}

static __always_inline int serve(struct kvmbpf_access *acc)
{
	__u16 end = 0;
	int i, result;

	if (!rng.ready || rng.number == 0 || rng.number > QUEUE_MAX)
		return 0;
	result = kvmbpf_guest_read(acc, rng.available + 2, &end, sizeof(end));
	for (i = 0; i < QUEUE_MAX && !result && rng.seen != end; i++)
		result = serve_one(acc);
	if (result) {
		rng.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
		rng.interrupts |= VIRTIO_MMIO_INT_CONFIG;
	}
	if (i)
		rng.interrupts |= VIRTIO_MMIO_INT_VRING;
	return kvmbpf_irq(acc, 0, rng.interrupts != 0);
}

static __always_inline void reset(void)
{
	__builtin_memset(&rng, 0, sizeof(rng));
}

KVMBPF_READ_SLEEPABLE(struct kvmbpf_access *acc)
{
	if (acc->len != 4)
		return KVMBPF_DECLINE;

	acc->value = 0;
	switch (acc->offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		acc->value = MAGIC;
		break;
	case VIRTIO_MMIO_VERSION:
		acc->value = 2;
		break;
	case VIRTIO_MMIO_DEVICE_ID:
		acc->value = ENTROPY;
		break;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		acc->value = rng.features_select == VIRTIO_F_VERSION_1 / 32;
		break;
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		acc->value = QUEUE_MAX;
		break;
	case VIRTIO_MMIO_QUEUE_READY:
		acc->value = rng.ready;
		break;
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		acc->value = rng.interrupts;
		break;
	case VIRTIO_MMIO_STATUS:
		acc->value = rng.status;
		break;
	}
	return 0;
}

KVMBPF_WRITE_SLEEPABLE(struct kvmbpf_access *acc)
{
	__u32 value = acc->value;

	if (acc->len != 4)
		return KVMBPF_DECLINE;

	switch (acc->offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		rng.features_select = value;
		break;
	case VIRTIO_MMIO_QUEUE_NUM:
		rng.number = value;
		break;
	case VIRTIO_MMIO_QUEUE_READY:
		rng.ready = value;
		break;
	case VIRTIO_MMIO_QUEUE_NOTIFY:
		return serve(acc);
	case VIRTIO_MMIO_INTERRUPT_ACK:
		rng.interrupts &= ~value;
		return kvmbpf_irq(acc, 0, rng.interrupts != 0);
	case VIRTIO_MMIO_STATUS:
		if (value == 0) {
			reset();
			return kvmbpf_irq(acc, 0, 0);
		}
		rng.status = value;
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		half(&rng.descriptors, acc->offset & 4, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		half(&rng.available, acc->offset & 4, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		half(&rng.used, acc->offset & 4, value);
		break;
	}
	return 0;
}

KVMBPF_RESET(struct kvmbpf_access *acc)
{
	reset();
	return 0;
}
