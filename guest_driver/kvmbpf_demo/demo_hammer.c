// SPDX-License-Identifier: GPL-2.0-only
/*
 * The demo device's driver: reads of COUNTER from many CPUs at once.
 *
 * Each thread is bound to a CPU of its own, and all begin together.
 */

#include <linux/completion.h>
#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/sched/task.h>
#include <linux/slab.h>

#include "demo_hammer.h"

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
		demo_seen_reply(&worker->seen, reply, run->begin);
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
		demo_seen_begin(&worker->seen, run->begin);
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

	demo_seen_begin(all, run->begin);
	for (i = 0; i < run->threads; i++)
		demo_seen_merge(all, &run->workers[i].seen);
	all->changes = (u16)(all->generation - demo_generation(run->begin));
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

static int demo_hammer_once(struct demo *demo, u64 count)
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

/**
 * demo_hammer_run - read COUNTER from as many CPUs as were asked for
 * @demo: the device
 * @count: how many reads each makes
 *
 * What was seen replaces the result of the last run.
 *
 * Return: 0; -EBUSY: another run is under way; -EINTR: killed; -ENODEV: the
 * device is being unbound; or another negative error number.
 */
int demo_hammer_run(struct demo *demo, u64 count)
{
	int ret;

	if (!mutex_trylock(&demo->hammer.run_lock))
		return -EBUSY;
	ret = demo_hammer_once(demo, count);
	mutex_unlock(&demo->hammer.run_lock);
	return ret;
}
