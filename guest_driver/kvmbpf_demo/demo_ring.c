// SPDX-License-Identifier: GPL-2.0-only
/*
 * The demo device's driver: the ring that the device fills in this memory.
 *
 * The device writes records, then the head beside them, then raises an event.
 * Records are taken in the thread of that interrupt, checked, and queued for
 * readers of the character device if there are any. While their queue is full,
 * records stay in the ring, and the device stops when that is full too: none is
 * lost, however slow a reader is.
 */

#include <linux/dma-mapping.h>
#include <linux/iopoll.h>
#include <linux/kernel.h>
#include <linux/log2.h>
#include <linux/overflow.h>
#include <linux/property.h>
#include <linux/sysfs.h>

#include "kvmbpf_demo.h"

#define DEMO_RING_DEFAULT    64
#define DEMO_BUSY_POLL_US    100
#define DEMO_BUSY_TIMEOUT_US 1000000

void demo_ring_init(struct demo *demo)
{
	mutex_init(&demo->ring.lock);
	INIT_KFIFO(demo->ring.queue);
	init_waitqueue_head(&demo->ring.readable);
}

static bool demo_record_is_right(const struct demo_record *record)
{
	/* The sum is over words as they lie in memory: 64-bit guests are little endian. */
	return le32_to_cpu(record->checksum) ==
	       demo_checksum((const __u32 *)record,
			     offsetof(struct demo_record, checksum) / 4);
}

static void demo_ring_take(struct demo_ring *ring,
			   const struct demo_record *record)
{
	u64 sequence = le64_to_cpu(record->sequence);

	if (!demo_record_is_right(record)) {
		ring->wrong++;
		return;
	}
	ring->lost += sequence - ring->sequence - 1;
	ring->sequence = sequence;
	ring->records++;
	if (ring->readers)
		kfifo_put(&ring->queue, *record);
}

/**
 * demo_ring_consume - take what the device has written
 * @demo: the device; its ring's lock is held
 */
void demo_ring_consume(struct demo *demo)
{
	struct demo_ring *ring = &demo->ring;
	struct demo_record record;
	u32 begin = ring->tail;
	u32 head;

	lockdep_assert_held(&ring->lock);

	if (demo_stopping(demo))
		return;
	head = le32_to_cpu(READ_ONCE(ring->memory->head));
	dma_rmb(); /* the records were written before the head */
	if (head - ring->tail > ring->size) {
		ring->wrong++;
		return;
	}
	while (ring->tail != head &&
	       !(ring->readers && kfifo_is_full(&ring->queue))) {
		/* A copy: what was checked is what is handed on. */
		record = ring->memory->records[ring->tail & (ring->size - 1)];
		demo_ring_take(ring, &record);
		ring->tail++;
	}
	/* Its reads are done when the device may write there again. */
	if (ring->tail != begin)
		demo_writel(demo, DEMO_REG_RING_TAIL, ring->tail);
}

/**
 * demo_ring_event - handle DEMO_EVENT_RING
 * @demo: the device
 */
void demo_ring_event(struct demo *demo)
{
	struct demo_ring *ring = &demo->ring;

	mutex_lock(&ring->lock);
	if (ring->memory)
		demo_ring_consume(demo);
	mutex_unlock(&ring->lock);
	wake_up_all(&ring->readable);
}

/* Reset the device, and wait until it lets this memory alone. */
static int demo_quiesce(struct demo *demo)
{
	u32 status;

	demo_writel(demo, DEMO_REG_CONTROL, DEMO_CONTROL_RESET);
	return read_poll_timeout(demo_readl, status, !(status & DEMO_RING_BUSY),
				 DEMO_BUSY_POLL_US, DEMO_BUSY_TIMEOUT_US, false,
				 demo, DEMO_REG_RING_STATUS);
}

static void demo_quiesce_action(void *data)
{
	struct demo *demo = data;

	demo_stop(demo);
	if (demo_quiesce(demo))
		dev_err(demo->dev, "still writes to its ring\n");
}

static int demo_ring_size(struct demo *demo)
{
	u32 size = DEMO_RING_DEFAULT;

	device_property_read_u32(demo->dev, "kvmbpf,ring-records", &size);
	if (!is_power_of_2(size) || size < DEMO_RING_MIN ||
	    size > DEMO_RING_MAX) {
		dev_err(demo->dev,
			"kvmbpf,ring-records is %u: a power of 2, %d to %d, is needed\n",
			size, DEMO_RING_MIN, DEMO_RING_MAX);
		return -EINVAL;
	}
	return size;
}

static int demo_ring_alloc(struct demo *demo)
{
	struct demo_ring *ring = &demo->ring;
	int ret;

	ret = demo_ring_size(demo);
	if (ret < 0)
		return ret;
	ring->size = ret;
	ret = dma_set_mask_and_coherent(demo->dev, DMA_BIT_MASK(64));
	if (ret)
		return ret;
	ring->memory = dmam_alloc_coherent(demo->dev,
					   struct_size(ring->memory, records,
						       ring->size),
					   &ring->dma, GFP_KERNEL);
	return ring->memory ? 0 : -ENOMEM;
}

/**
 * demo_ring_setup - bring the device into a known state, and give it a ring
 * @demo: the device, with its interrupts requested
 *
 * A device without an interrupt for events gets no ring. When the driver is
 * unbound the device is reset before the memory goes.
 *
 * Return: 0, or a negative error number.
 */
int demo_ring_setup(struct demo *demo)
{
	struct demo_ring *ring = &demo->ring;
	int ret;

	ret = demo_quiesce(demo);
	if (ret || !demo->events_irq)
		return ret;

	ret = demo_ring_alloc(demo);
	if (ret)
		return ret;
	ret = devm_add_action_or_reset(demo->dev, demo_quiesce_action, demo);
	if (ret)
		return ret;

	demo_writeq(demo, DEMO_REG_RING_BASE, ring->dma);
	demo_writel(demo, DEMO_REG_RING_SIZE, ring->size);
	if (!(demo_readl(demo, DEMO_REG_RING_STATUS) & DEMO_RING_ON))
		return -EIO;
	demo_writel(demo, DEMO_REG_ENABLE, DEMO_EVENTS_ALL);
	return 0;
}

static ssize_t fill_store(struct device *dev, struct device_attribute *attr,
			  const char *buf, size_t size)
{
	struct demo *demo = dev_get_drvdata(dev);
	u32 count;
	int ret;

	ret = kstrtou32(buf, 0, &count);
	if (ret)
		return ret;
	if (count > DEMO_RING_FILL_MAX)
		return -ERANGE;
	if (!demo->ring.memory)
		return -ENXIO;
	demo_writel(demo, DEMO_REG_RING_FILL, count);
	if (demo_readl(demo, DEMO_REG_RING_STATUS) & DEMO_RING_FAILED)
		return -EIO;
	return size;
}
static DEVICE_ATTR_WO(fill);

static ssize_t status_show(struct device *dev, struct device_attribute *attr,
			   char *buf)
{
	struct demo *demo = dev_get_drvdata(dev);
	u32 status = demo_readl(demo, DEMO_REG_RING_STATUS);

	if (status & DEMO_RING_FAILED)
		return sysfs_emit(buf, "failed\n");
	if (status & DEMO_RING_BUSY)
		return sysfs_emit(buf, "busy\n");
	return sysfs_emit(buf, status & DEMO_RING_ON ? "on\n" : "off\n");
}
static DEVICE_ATTR_RO(status);

static ssize_t size_show(struct device *dev, struct device_attribute *attr,
			 char *buf)
{
	struct demo *demo = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%u\n", demo->ring.size);
}
static DEVICE_ATTR_RO(size);

static ssize_t demo_ring_show(struct device *dev, char *buf, size_t offset)
{
	struct demo *demo = dev_get_drvdata(dev);
	u64 value;

	mutex_lock(&demo->ring.lock);
	value = *(u64 *)((void *)&demo->ring + offset);
	mutex_unlock(&demo->ring.lock);
	return sysfs_emit(buf, "%llu\n", value);
}

#define DEMO_RING_ATTR(name, offset)                                           \
	static ssize_t name##_show(struct device *dev,                         \
				   struct device_attribute *attr, char *buf)   \
	{                                                                      \
		return demo_ring_show(dev, buf, offset);                       \
	}                                                                      \
	static DEVICE_ATTR_RO(name)

DEMO_RING_ATTR(records, offsetof(struct demo_ring, records));
DEMO_RING_ATTR(lost, offsetof(struct demo_ring, lost));
DEMO_RING_ATTR(wrong, offsetof(struct demo_ring, wrong));

static struct attribute *demo_ring_attrs[] = {
	&dev_attr_fill.attr,
	&dev_attr_status.attr,
	&dev_attr_size.attr,
	&dev_attr_records.attr,
	&dev_attr_lost.attr,
	&dev_attr_wrong.attr,
	NULL,
};

const struct attribute_group demo_ring_group = {
	.name = "ring",
	.attrs = demo_ring_attrs,
};
