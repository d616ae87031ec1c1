// SPDX-License-Identifier: GPL-2.0-only
/*
 * The demo device's driver: how long one access takes, in nanoseconds.
 *
 * Each sample is one read of ID between two looks at the clock, so the clock's
 * own cost is in it. All samples are kept and sorted: the figures are exact.
 */

#include <linux/device.h>
#include <linux/kernel.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sort.h>
#include <linux/sysfs.h>

#include "kvmbpf_demo.h"

#define DEMO_SAMPLES_DEFAULT 1000
#define DEMO_SAMPLES_MAX     1000000

void demo_selftest_init(struct demo *demo)
{
	mutex_init(&demo->selftest.lock);
	demo->selftest.samples = DEMO_SAMPLES_DEFAULT;
}

static int demo_compare(const void *a, const void *b)
{
	u64 x = *(const u64 *)a;
	u64 y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

static int demo_sample(struct demo *demo, u64 *ns)
{
	u64 begin = ktime_get_ns();
	u32 id = demo_readl(demo, DEMO_REG_ID);

	*ns = ktime_get_ns() - begin;
	return id == DEMO_ID ? 0 : -EIO;
}

static int demo_take_samples(struct demo *demo, u64 *samples,
			     unsigned int count)
{
	unsigned int i;
	int ret;

	for (i = 0; i < count; i++) {
		if (fatal_signal_pending(current))
			return -EINTR;
		if (demo_stopping(demo))
			return -ENODEV;
		cond_resched();
		ret = demo_sample(demo, &samples[i]);
		if (ret)
			return ret;
	}
	return 0;
}

static int demo_selftest_run(struct demo *demo)
{
	struct demo_selftest *test = &demo->selftest;
	unsigned int count = test->samples;
	u64 *samples;
	int ret;

	lockdep_assert_held(&test->lock);

	samples = kvmalloc_array(count, sizeof(*samples), GFP_KERNEL);
	if (!samples)
		return -ENOMEM;
	ret = demo_take_samples(demo, samples, count);
	if (!ret) {
		sort(samples, count, sizeof(*samples), demo_compare, NULL);
		test->min_ns = samples[0];
		test->median_ns = samples[count / 2];
		test->p99_ns = samples[mul_u64_u32_div(count, 99, 100)];
		test->max_ns = samples[count - 1];
		test->measured = true;
	}
	kvfree(samples);
	return ret;
}

static ssize_t samples_show(struct device *dev, struct device_attribute *attr,
			    char *buf)
{
	struct demo *demo = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%u\n", READ_ONCE(demo->selftest.samples));
}

static ssize_t samples_store(struct device *dev, struct device_attribute *attr,
			     const char *buf, size_t size)
{
	struct demo *demo = dev_get_drvdata(dev);
	unsigned int samples;
	int ret;

	ret = kstrtouint(buf, 0, &samples);
	if (ret)
		return ret;
	if (samples < 1 || samples > DEMO_SAMPLES_MAX)
		return -ERANGE;
	WRITE_ONCE(demo->selftest.samples, samples);
	return size;
}
static DEVICE_ATTR_RW(samples);

static ssize_t run_store(struct device *dev, struct device_attribute *attr,
			 const char *buf, size_t size)
{
	struct demo *demo = dev_get_drvdata(dev);
	bool wanted;
	int ret;

	ret = kstrtobool(buf, &wanted);
	if (ret)
		return ret;
	if (!wanted)
		return -EINVAL;
	if (!mutex_trylock(&demo->selftest.lock))
		return -EBUSY;
	ret = demo_selftest_run(demo);
	mutex_unlock(&demo->selftest.lock);
	return ret ? ret : size;
}
static DEVICE_ATTR_WO(run);

static ssize_t demo_show_figure(struct device *dev, char *buf, size_t offset)
{
	struct demo *demo = dev_get_drvdata(dev);
	struct demo_selftest *test = &demo->selftest;
	ssize_t ret = -ENODATA;

	if (mutex_lock_interruptible(&test->lock))
		return -ERESTARTSYS;
	if (test->measured)
		ret = sysfs_emit(buf, "%llu\n",
				 *(u64 *)((void *)test + offset));
	mutex_unlock(&test->lock);
	return ret;
}

#define DEMO_FIGURE_ATTR(name, offset)                                         \
	static ssize_t name##_show(struct device *dev,                         \
				   struct device_attribute *attr, char *buf)   \
	{                                                                      \
		return demo_show_figure(dev, buf, offset);                     \
	}                                                                      \
	static DEVICE_ATTR_RO(name)

DEMO_FIGURE_ATTR(min_ns, offsetof(struct demo_selftest, min_ns));
DEMO_FIGURE_ATTR(median_ns, offsetof(struct demo_selftest, median_ns));
DEMO_FIGURE_ATTR(p99_ns, offsetof(struct demo_selftest, p99_ns));
DEMO_FIGURE_ATTR(max_ns, offsetof(struct demo_selftest, max_ns));

static struct attribute *demo_selftest_attrs[] = {
	&dev_attr_samples.attr,
	&dev_attr_run.attr,
	&dev_attr_min_ns.attr,
	&dev_attr_median_ns.attr,
	&dev_attr_p99_ns.attr,
	&dev_attr_max_ns.attr,
	NULL,
};

const struct attribute_group demo_selftest_group = {
	.name = "selftest",
	.attrs = demo_selftest_attrs,
};
