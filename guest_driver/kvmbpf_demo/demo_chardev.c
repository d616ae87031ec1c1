// SPDX-License-Identifier: GPL-2.0-only
/*
 * The demo device's driver: /dev/kvmbpf-demoN.
 *
 * A read gives whole records of the ring, struct demo_record of demo_regs.h,
 * that came while the file was open; it waits for the first unless O_NONBLOCK.
 * poll() tells when there is one. Each record goes to one reader. When the
 * driver is unbound, reads fail with ENODEV and poll() gives POLLHUP.
 */

#include <linux/device.h>
#include <linux/fs.h>
#include <linux/idr.h>
#include <linux/module.h>
#include <linux/poll.h>

#include "kvmbpf_demo.h"

static DEFINE_IDA(demo_indices);

static int demo_open(struct inode *inode, struct file *file)
{
	/* misc_open() holds off misc_deregister(), so the device is there. */
	struct demo *demo = container_of(file->private_data, struct demo, misc);

	demo_get(demo);
	file->private_data = demo;
	mutex_lock(&demo->ring.lock);
	demo->ring.readers++;
	mutex_unlock(&demo->ring.lock);
	return stream_open(inode, file);
}

static int demo_release(struct inode *inode, struct file *file)
{
	struct demo *demo = file->private_data;
	struct demo_ring *ring = &demo->ring;

	mutex_lock(&ring->lock);
	if (!--ring->readers) {
		kfifo_reset(&ring->queue);
		/* What waits in the ring for room need not wait any more. */
		demo_ring_consume(demo);
	}
	mutex_unlock(&ring->lock);
	demo_put(demo);
	return 0;
}

/* Wait for a record; the ring's lock is held on entry, and again after 0. */
static int demo_await_record(struct demo *demo, bool nonblock)
{
	struct demo_ring *ring = &demo->ring;
	int ret;

	while (!demo_stopping(demo)) {
		if (!kfifo_is_empty(&ring->queue))
			return 0;
		mutex_unlock(&ring->lock);
		if (nonblock)
			return -EAGAIN;
		ret = wait_event_interruptible(ring->readable,
					       !kfifo_is_empty(&ring->queue) ||
						       demo_stopping(demo));
		if (ret)
			return ret;
		if (mutex_lock_interruptible(&ring->lock))
			return -ERESTARTSYS;
	}
	mutex_unlock(&ring->lock);
	return -ENODEV;
}

static ssize_t demo_read(struct file *file, char __user *buf, size_t size,
			 loff_t *offset)
{
	struct demo *demo = file->private_data;
	struct demo_ring *ring = &demo->ring;
	unsigned int copied;
	int ret;

	if (size < sizeof(struct demo_record))
		return -EINVAL;
	size = min_t(size_t, size,
		     sizeof(struct demo_record) * DEMO_QUEUE_RECORDS);
	if (mutex_lock_interruptible(&ring->lock))
		return -ERESTARTSYS;
	ret = demo_await_record(demo, file->f_flags & O_NONBLOCK);
	if (ret)
		return ret;
	ret = kfifo_to_user(&ring->queue, buf,
			    rounddown(size, sizeof(struct demo_record)),
			    &copied);
	demo_ring_consume(demo); /* room for what waits in the ring */
	mutex_unlock(&ring->lock);
	return ret ? ret : copied;
}

static __poll_t demo_poll(struct file *file, poll_table *wait)
{
	struct demo *demo = file->private_data;

	poll_wait(file, &demo->ring.readable, wait);
	if (demo_stopping(demo))
		return EPOLLHUP | EPOLLERR;
	return kfifo_is_empty(&demo->ring.queue) ? 0 : EPOLLIN | EPOLLRDNORM;
}

static const struct file_operations demo_fops = {
	.owner = THIS_MODULE,
	.open = demo_open,
	.release = demo_release,
	.read = demo_read,
	.poll = demo_poll,
};

static void demo_chardev_remove(void *data)
{
	struct demo *demo = data;

	misc_deregister(&demo->misc);
}

static void demo_free_index(void *data)
{
	struct demo *demo = data;

	ida_free(&demo_indices, demo->index);
}

/**
 * demo_chardev_add - add the character device, if there is a ring
 * @demo: the device; its ring was set up
 *
 * Return: 0, or a negative error number.
 */
int demo_chardev_add(struct demo *demo)
{
	struct device *dev = demo->dev;
	int ret;

	if (!demo->ring.memory)
		return 0;

	demo->index = ida_alloc(&demo_indices, GFP_KERNEL);
	if (demo->index < 0)
		return demo->index;
	ret = devm_add_action_or_reset(dev, demo_free_index, demo);
	if (ret)
		return ret;

	demo->misc.minor = MISC_DYNAMIC_MINOR;
	demo->misc.fops = &demo_fops;
	demo->misc.parent = dev;
	demo->misc.name =
		devm_kasprintf(dev, GFP_KERNEL, "kvmbpf-demo%d", demo->index);
	if (!demo->misc.name)
		return -ENOMEM;
	ret = misc_register(&demo->misc);
	if (ret)
		return ret;
	return devm_add_action_or_reset(dev, demo_chardev_remove, demo);
}
