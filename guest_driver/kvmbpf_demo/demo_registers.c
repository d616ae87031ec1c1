// SPDX-License-Identifier: GPL-2.0-only
/*
 * The demo device's driver: sysfs files that read and write its registers, and
 * those that tell how many accesses and interrupts there were.
 */

#include <linux/device.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/sched/signal.h>
#include <linux/sysfs.h>

#include "kvmbpf_demo.h"

#define DEMO_IRQ_TIMEOUT   (5 * HZ)
#define DEMO_DOORBELLS_MAX 1000000

static ssize_t id_show(struct device *dev, struct device_attribute *attr,
		       char *buf)
{
	return sysfs_emit(buf, "0x%08x\n",
			  demo_readl(dev_get_drvdata(dev), DEMO_REG_ID));
}
static DEVICE_ATTR_RO(id);

static ssize_t version_show(struct device *dev, struct device_attribute *attr,
			    char *buf)
{
	return sysfs_emit(buf, "%u\n",
			  demo_readl(dev_get_drvdata(dev), DEMO_REG_VERSION));
}
static DEVICE_ATTR_RO(version);

static ssize_t counter_show(struct device *dev, struct device_attribute *attr,
			    char *buf)
{
	struct demo *demo = dev_get_drvdata(dev);
	u64 reply;

	/* A read from here would be a number that a hammer misses. */
	if (!mutex_trylock(&demo->hammer.run_lock))
		return -EBUSY;
	reply = demo_readq(demo, DEMO_REG_COUNTER);
	mutex_unlock(&demo->hammer.run_lock);
	return sysfs_emit(buf, "0x%016llx\n", reply);
}
static DEVICE_ATTR_RO(counter);

static ssize_t doorbells_show(struct device *dev, struct device_attribute *attr,
			      char *buf)
{
	return sysfs_emit(buf, "%llu\n",
			  demo_readq(dev_get_drvdata(dev), DEMO_REG_DOORBELLS));
}
static DEVICE_ATTR_RO(doorbells);

static ssize_t probe_declined_show(struct device *dev,
				   struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "0x%016llx\n",
			  demo_readq(dev_get_drvdata(dev), DEMO_REG_DECLINED));
}
static DEVICE_ATTR_RO(probe_declined);

static ssize_t tick_us_show(struct device *dev, struct device_attribute *attr,
			    char *buf)
{
	return sysfs_emit(buf, "%u\n",
			  demo_readl(dev_get_drvdata(dev), DEMO_REG_TICK_US));
}

static ssize_t tick_us_store(struct device *dev, struct device_attribute *attr,
			     const char *buf, size_t size)
{
	u32 us;
	int ret;

	ret = kstrtou32(buf, 0, &us);
	if (ret)
		return ret;
	demo_writel(dev_get_drvdata(dev), DEMO_REG_TICK_US, us);
	return size;
}
static DEVICE_ATTR_RW(tick_us);

static ssize_t ticks_show(struct device *dev, struct device_attribute *attr,
			  char *buf)
{
	return sysfs_emit(buf, "%llu\n",
			  demo_readq(dev_get_drvdata(dev), DEMO_REG_TICKS));
}
static DEVICE_ATTR_RO(ticks);

static bool demo_was_rung(struct demo *demo, s64 before)
{
	return atomic64_read(&demo->interrupts) != before;
}

/* Ring once and wait for the interrupt that this doorbell raises. */
static int demo_ring_doorbell(struct demo *demo)
{
	s64 before = atomic64_read(&demo->interrupts);
	long left;

	/* The interrupt may come before the wait, which does not sleep then. */
	cond_resched();
	if (fatal_signal_pending(current))
		return -EINTR;
	demo_writel(demo, DEMO_REG_DOORBELL, 1);
	left = wait_event_killable_timeout(demo->rung,
					   demo_was_rung(demo, before) ||
						   demo_stopping(demo),
					   DEMO_IRQ_TIMEOUT);
	if (left < 0)
		return -EINTR;
	if (demo_was_rung(demo, before))
		return 0;
	return demo_stopping(demo) ? -ENODEV : -ETIMEDOUT;
}

static ssize_t doorbell_store(struct device *dev, struct device_attribute *attr,
			      const char *buf, size_t size)
{
	struct demo *demo = dev_get_drvdata(dev);
	unsigned int count;
	int ret;

	ret = kstrtouint(buf, 0, &count);
	if (ret)
		return ret;
	if (count > DEMO_DOORBELLS_MAX)
		return -ERANGE;
	if (!demo->irq)
		return -ENXIO;
	if (!mutex_trylock(&demo->doorbell_lock))
		return -EBUSY;
	for (; count && !ret; count--)
		ret = demo_stopping(demo) ? -ENODEV : demo_ring_doorbell(demo);
	mutex_unlock(&demo->doorbell_lock);
	return ret ? ret : size;
}
static DEVICE_ATTR_WO(doorbell);

static ssize_t demo_show_count(struct device *dev, char *buf, size_t offset)
{
	void *demo = dev_get_drvdata(dev);
	atomic64_t *count = demo + offset;

	return sysfs_emit(buf, "%lld\n", atomic64_read(count));
}

#define DEMO_COUNT_ATTR(name, offset)                                          \
	static ssize_t name##_show(struct device *dev,                         \
				   struct device_attribute *attr, char *buf)   \
	{                                                                      \
		return demo_show_count(dev, buf, offset);                      \
	}                                                                      \
	static DEVICE_ATTR_RO(name)

DEMO_COUNT_ATTR(reads, offsetof(struct demo, reads));
DEMO_COUNT_ATTR(writes, offsetof(struct demo, writes));
DEMO_COUNT_ATTR(interrupts, offsetof(struct demo, interrupts));
DEMO_COUNT_ATTR(ring_events, offsetof(struct demo, ring_events));
DEMO_COUNT_ATTR(tick_events, offsetof(struct demo, tick_events));

static struct attribute *demo_registers_attrs[] = {
	&dev_attr_id.attr,          &dev_attr_version.attr,
	&dev_attr_counter.attr,     &dev_attr_doorbells.attr,
	&dev_attr_doorbell.attr,    &dev_attr_probe_declined.attr,
	&dev_attr_tick_us.attr,     &dev_attr_ticks.attr,
	&dev_attr_reads.attr,       &dev_attr_writes.attr,
	&dev_attr_interrupts.attr,  &dev_attr_ring_events.attr,
	&dev_attr_tick_events.attr, NULL,
};

const struct attribute_group demo_registers_group = {
	.attrs = demo_registers_attrs,
};
