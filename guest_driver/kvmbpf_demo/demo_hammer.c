// SPDX-License-Identifier: GPL-2.0-only
/*
 * The demo device's driver: reads of COUNTER from many CPUs at once.
 *
 * Each thread is bound to a CPU of its own and checks what it can of every
 * reply: the checksum, that numbers go up, that generations do not go back, and
 * that one generation is one version. What only all threads together can tell
 * is told at the end: the numbers that they got, together, must be those of a
 * sequence without a gap. For that the count of replies is compared with the
 * highest number, and the sums of the numbers and of their squares with those
 * of that sequence.
 *
 * A wrong reply is a number that nobody got, so it is a lost one as well.
 */

#include <linux/completion.h>
#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/debugfs.h>
#include <linux/device.h>
#include <linux/kernel.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/sysfs.h>

#include "kvmbpf_demo.h"

/* What was seen. Numbers are relative to the run's begin, so 1 is the first. */
struct demo_seen {
	u64 reads;
	u64 wrong; /* the checksum did not match: the rest is not looked at */
	u64 back; /* the generation, or the number, was below the last one */
	u64 mixed; /* another version in the same generation */
	u64 changes; /* of the generation */
	u64 number_sum;
	u64 square_sum;
	u32 last; /* and highest */
	u16 generation;
	u8 version;
	struct demo_histogram latency;
};

struct demo_worker {
	struct demo_hammered *run;
	struct task_struct *task;
	unsigned int cpu;
	struct demo_seen seen;
};

struct demo_hammered {
	struct demo *demo;
	u64 count; /* reads that each thread makes */
	u64 begin; /* the reply before the first */
	bool stop;
	atomic_t working;
	struct completion ended;
	struct demo_seen all; /* once it has ended */
	unsigned int threads;
	struct demo_worker workers[];
};

void demo_hammer_init(struct demo *demo)
{
	mutex_init(&demo->hammer.run_lock);
	mutex_init(&demo->hammer.result_lock);
	demo->hammer.threads = 1;
}

void demo_hammer_free(struct demo *demo)
{
	kvfree(demo->hammer.result);
}

static u8 demo_version(u64 reply)
{
	return reply >> DEMO_REPLY_VERSION_SHIFT;
}

static u16 demo_generation(u64 reply)
{
	return reply >> DEMO_REPLY_GENERATION_SHIFT;
}

/* @seen begins as if the reply before the first had been seen. */
static void demo_check(struct demo_seen *seen, u64 reply, u64 begin)
{
	u16 generation = demo_generation(reply);
	u32 number = (u32)reply - (u32)begin;
	u8 version = demo_version(reply);

	seen->reads++;
	if (reply != demo_reply(version, generation, reply)) {
		seen->wrong++;
		return;
	}
	if (number <= seen->last || (s16)(generation - seen->generation) < 0)
		seen->back++;
	if (generation != seen->generation)
		seen->changes++;
	else if (version != seen->version)
		seen->mixed++;
	seen->last = number;
	seen->number_sum += number;
	seen->square_sum += (u64)number * number;
	seen->generation = generation;
	seen->version = version;
}

static bool demo_worker_goes_on(struct demo_worker *worker)
{
	struct demo_hammered *run = worker->run;

	return worker->seen.reads < run->count && !READ_ONCE(run->stop) &&
	       !demo_stopping(run->demo) && !kthread_should_stop();
}

static int demo_work(void *data)
{
	struct demo_worker *worker = data;
	struct demo_hammered *run = worker->run;
	u64 begin, reply;

	while (demo_worker_goes_on(worker)) {
		cond_resched();
		begin = ktime_get_ns();
		reply = demo_readq(run->demo, DEMO_REG_COUNTER);
		demo_histogram_add(&worker->seen.latency,
				   ktime_get_ns() - begin);
		demo_check(&worker->seen, reply, run->begin);
	}
	if (atomic_dec_and_test(&run->working))
		complete(&run->ended);
	return 0;
}

static void demo_end_workers(struct demo_hammered *run)
{
	unsigned int i;

	WRITE_ONCE(run->stop, true);
	for (i = 0; i < run->threads && run->workers[i].task; i++) {
		kthread_stop(run->workers[i].task);
		put_task_struct(run->workers[i].task);
	}
}

/* Make all threads, then wake them, so that they begin together. */
static int demo_start_workers(struct demo_hammered *run)
{
	unsigned int i = 0, cpu;
	struct task_struct *task;

	cpus_read_lock();
	for_each_online_cpu(cpu) {
		struct demo_worker *worker = &run->workers[i];

		if (i == run->threads)
			break;
		task = kthread_create_on_cpu(demo_work, worker, cpu,
					     "kvmbpf_demo/%u");
		if (IS_ERR(task)) {
			cpus_read_unlock();
			return PTR_ERR(task);
		}
		worker->run = run;
		worker->cpu = cpu;
		worker->seen.generation = demo_generation(run->begin);
		worker->seen.version = demo_version(run->begin);
		worker->task = get_task_struct(task);
		i++;
	}
	cpus_read_unlock();
	if (i < run->threads)
		return -EINVAL; /* CPUs went offline since it was asked for */

	atomic_set(&run->working, run->threads);
	for (i = 0; i < run->threads; i++)
		wake_up_process(run->workers[i].task);
	return 0;
}

/* Put together what the threads saw. */
static void demo_sum_up(struct demo_hammered *run)
{
	struct demo_seen *all = &run->all;
	unsigned int i;

	all->generation = demo_generation(run->begin);
	all->version = demo_version(run->begin);
	for (i = 0; i < run->threads; i++) {
		const struct demo_seen *seen = &run->workers[i].seen;

		all->reads += seen->reads;
		all->wrong += seen->wrong;
		all->back += seen->back;
		all->mixed += seen->mixed;
		all->number_sum += seen->number_sum;
		all->square_sum += seen->square_sum;
		if ((s16)(seen->generation - all->generation) > 0) {
			all->generation = seen->generation;
			all->version = seen->version;
		}
		all->last = max(all->last, seen->last);
		demo_histogram_merge(&all->latency, &seen->latency);
	}
	all->changes = (u16)(all->generation - demo_generation(run->begin));
}

/* 1 + 2 + ... + n, and the sum of their squares, modulo 2^64 as they are kept. */
static bool demo_sums_match(const struct demo_seen *all)
{
	u64 n = all->last;
	u64 sum = n % 2 ? (n + 1) / 2 * n : n / 2 * (n + 1);
	/* sum * (2n + 1) / 3, and one of the factors is a multiple of 3. */
	u64 squares = sum % 3 ? (2 * n + 1) / 3 * sum : sum / 3 * (2 * n + 1);

	return all->number_sum == sum && all->square_sum == squares;
}

static u64 demo_count_lost(const struct demo_seen *all)
{
	u64 right = all->reads - all->wrong;

	if (right != all->last)
		return all->last > right ? all->last - right
					 : right - all->last;
	return demo_sums_match(all) ? 0 : 1;
}

static int demo_hammer_work(struct demo_hammered *run)
{
	struct demo *demo = run->demo;
	int ret, ended;

	init_completion(&run->ended);
	run->begin = demo_readq(demo, DEMO_REG_COUNTER);
	ret = demo_start_workers(run);
	ended = ret ? 0 : wait_for_completion_killable(&run->ended);
	demo_end_workers(run);
	if (ret)
		return ret;
	demo_sum_up(run);
	if (ended < 0)
		return -EINTR;
	return demo_stopping(demo) ? -ENODEV : 0;
}

static int demo_hammer_run(struct demo *demo, u64 count)
{
	struct demo_hammer *hammer = &demo->hammer;
	unsigned int threads = READ_ONCE(hammer->threads);
	struct demo_hammered *run;
	int ret;

	run = kvzalloc(struct_size(run, workers, threads), GFP_KERNEL);
	if (!run)
		return -ENOMEM;
	run->demo = demo;
	run->count = count;
	run->threads = threads;
	ret = demo_hammer_work(run);

	/* Also what a run saw that was interrupted. */
	mutex_lock(&hammer->result_lock);
	swap(run, hammer->result);
	mutex_unlock(&hammer->result_lock);
	kvfree(run);
	return ret;
}

static ssize_t run_store(struct device *dev, struct device_attribute *attr,
			 const char *buf, size_t size)
{
	struct demo *demo = dev_get_drvdata(dev);
	u64 count;
	int ret;

	ret = kstrtou64(buf, 0, &count);
	if (ret)
		return ret;
	if (!mutex_trylock(&demo->hammer.run_lock))
		return -EBUSY;
	ret = demo_hammer_run(demo, count);
	mutex_unlock(&demo->hammer.run_lock);
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
		return demo_count_lost(all);
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
