// SPDX-License-Identifier: GPL-2.0-only
/*
 * The demo device's driver: the hammer's files.
 *
 * In sysfs, what starts a run, and a file for each figure of the last one; in
 * debugfs, what each of its threads saw.
 */

#include <linux/cpumask.h>
#include <linux/debugfs.h>
#include <linux/device.h>
#include <linux/kernel.h>
#include <linux/seq_file.h>
#include <linux/sysfs.h>

#include "demo_hammer.h"

static ssize_t run_store(struct device *dev, struct device_attribute *attr,
			 const char *buf, size_t size)
{
	u64 count;
	int ret;

	ret = kstrtou64(buf, 0, &count);
	if (!ret)
		ret = demo_hammer_run(dev_get_drvdata(dev), count);
	return ret ? ret : size;
}
static DEVICE_ATTR_WO(run);

static ssize_t threads_show(struct device *dev, struct device_attribute *attr,
			    char *buf)
{
	struct demo *demo = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%u\n", READ_ONCE(demo->hammer.threads));
}

static ssize_t threads_store(struct device *dev, struct device_attribute *attr,
			     const char *buf, size_t size)
{
	struct demo *demo = dev_get_drvdata(dev);
	unsigned int threads;
	int ret;

	ret = kstrtouint(buf, 0, &threads);
	if (ret)
		return ret;
	if (threads < 1 || threads > num_online_cpus())
		return -ERANGE;
	WRITE_ONCE(demo->hammer.threads, threads);
	return size;
}
static DEVICE_ATTR_RW(threads);

/* What the last run saw; each figure has a name, and a file of that name. */
enum demo_figure {
	DEMO_READS,
	DEMO_LOST,
	DEMO_WRONG,
	DEMO_BACK,
	DEMO_MIXED,
	DEMO_CHANGES,
	DEMO_FIRST_VERSION,
	DEMO_LAST_VERSION,
	DEMO_MIN_NS,
	DEMO_MEDIAN_NS,
	DEMO_P99_NS,
	DEMO_P999_NS,
	DEMO_MAX_NS,
};

static u64 demo_figure(const struct demo_hammered *run, enum demo_figure figure)
{
	const struct demo_seen *all = &run->all;
	const struct demo_histogram *h = &all->latency;

	switch (figure) {
	case DEMO_READS:
		return all->reads;
	case DEMO_LOST:
		return demo_seen_lost(all);
	case DEMO_WRONG:
		return all->wrong;
	case DEMO_BACK:
		return all->back;
	case DEMO_MIXED:
		return all->mixed;
	case DEMO_CHANGES:
		return all->changes;
	case DEMO_FIRST_VERSION:
		return demo_version(run->begin);
	case DEMO_LAST_VERSION:
		return all->version;
	case DEMO_MIN_NS:
		return h->min;
	case DEMO_MEDIAN_NS:
		return demo_histogram_quantile(h, 500);
	case DEMO_P99_NS:
		return demo_histogram_quantile(h, 990);
	case DEMO_P999_NS:
		return demo_histogram_quantile(h, 999);
	case DEMO_MAX_NS:
		return h->max;
	}
	return 0;
}

static ssize_t demo_show_seen(struct device *dev, char *buf,
			      enum demo_figure figure)
{
	struct demo *demo = dev_get_drvdata(dev);
	struct demo_hammer *hammer = &demo->hammer;
	ssize_t ret = -ENODATA;

	mutex_lock(&hammer->result_lock);
	if (hammer->result)
		ret = sysfs_emit(buf, "%llu\n",
				 demo_figure(hammer->result, figure));
	mutex_unlock(&hammer->result_lock);
	return ret;
}

#define DEMO_SEEN_ATTR(name, figure)                                           \
	static ssize_t name##_show(struct device *dev,                         \
				   struct device_attribute *attr, char *buf)   \
	{                                                                      \
		return demo_show_seen(dev, buf, figure);                       \
	}                                                                      \
	static DEVICE_ATTR_RO(name)

DEMO_SEEN_ATTR(reads, DEMO_READS);
DEMO_SEEN_ATTR(lost, DEMO_LOST);
DEMO_SEEN_ATTR(wrong, DEMO_WRONG);
DEMO_SEEN_ATTR(back, DEMO_BACK);
DEMO_SEEN_ATTR(mixed, DEMO_MIXED);
DEMO_SEEN_ATTR(changes, DEMO_CHANGES);
DEMO_SEEN_ATTR(first_version, DEMO_FIRST_VERSION);
DEMO_SEEN_ATTR(last_version, DEMO_LAST_VERSION);
DEMO_SEEN_ATTR(min_ns, DEMO_MIN_NS);
DEMO_SEEN_ATTR(median_ns, DEMO_MEDIAN_NS);
DEMO_SEEN_ATTR(p99_ns, DEMO_P99_NS);
DEMO_SEEN_ATTR(p999_ns, DEMO_P999_NS);
DEMO_SEEN_ATTR(max_ns, DEMO_MAX_NS);

static struct attribute *demo_hammer_attrs[] = {
	&dev_attr_run.attr,           &dev_attr_threads.attr,
	&dev_attr_reads.attr,         &dev_attr_lost.attr,
	&dev_attr_wrong.attr,         &dev_attr_back.attr,
	&dev_attr_mixed.attr,         &dev_attr_changes.attr,
	&dev_attr_first_version.attr, &dev_attr_last_version.attr,
	&dev_attr_min_ns.attr,        &dev_attr_median_ns.attr,
	&dev_attr_p99_ns.attr,        &dev_attr_p999_ns.attr,
	&dev_attr_max_ns.attr,        NULL,
};

const struct attribute_group demo_hammer_group = {
	.name = "hammer",
	.attrs = demo_hammer_attrs,
};

/* One line a thread: its CPU, then what it saw. */
static int threads_dump_show(struct seq_file *file, void *data)
{
	struct demo *demo = file->private;
	struct demo_hammered *run;
	unsigned int i;

	mutex_lock(&demo->hammer.result_lock);
	run = demo->hammer.result;
	for (i = 0; run && i < run->threads; i++) {
		const struct demo_seen *seen = &run->workers[i].seen;
		const struct demo_histogram *h = &seen->latency;

		seq_printf(file, "cpu=%u reads=%llu wrong=%llu back=%llu",
			   run->workers[i].cpu, seen->reads, seen->wrong,
			   seen->back);
		seq_printf(file, " changes=%llu min_ns=%llu median_ns=%llu",
			   seen->changes, h->min,
			   demo_histogram_quantile(h, 500));
		seq_printf(file, " p99_ns=%llu p999_ns=%llu max_ns=%llu\n",
			   demo_histogram_quantile(h, 990),
			   demo_histogram_quantile(h, 999), h->max);
	}
	mutex_unlock(&demo->hammer.result_lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(threads_dump);

/* One line a bucket that is not empty: where it begins, then a count a thread. */
static int histogram_show(struct seq_file *file, void *data)
{
	struct demo *demo = file->private;
	struct demo_hammered *run;
	unsigned int i, bucket;

	mutex_lock(&demo->hammer.result_lock);
	run = demo->hammer.result;
	for (bucket = 0; run && bucket < DEMO_HISTOGRAM_BUCKETS; bucket++) {
		if (!run->all.latency.buckets[bucket])
			continue;
		seq_printf(file, "%llu", demo_histogram_bucket_start(bucket));
		for (i = 0; i < run->threads; i++)
			seq_printf(file, " %llu",
				   run->workers[i]
					   .seen.latency.buckets[bucket]);
		seq_putc(file, '\n');
	}
	mutex_unlock(&demo->hammer.result_lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(histogram);

static void demo_hammer_remove(void *data)
{
	struct demo *demo = data;

	debugfs_remove_recursive(demo->debugfs);
}

/**
 * demo_hammer_add - add what the threads saw, each by itself, to debugfs
 * @demo: the device
 *
 * Return: 0, or a negative error number.
 */
int demo_hammer_add(struct demo *demo)
{
	char name[64];

	snprintf(name, sizeof(name), "kvmbpf-demo-%s", dev_name(demo->dev));
	demo->debugfs = debugfs_create_dir(name, NULL);
	debugfs_create_file("threads", 0444, demo->debugfs, demo,
			    &threads_dump_fops);
	debugfs_create_file("histogram", 0444, demo->debugfs, demo,
			    &histogram_fops);
	return devm_add_action_or_reset(demo->dev, demo_hammer_remove, demo);
}
