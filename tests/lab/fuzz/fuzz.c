// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A fuzzer of KVM_DEV_TYPE_BPF: threads that make random operations on shared
 * VMs, devices, maps and links, in processes that end in the middle.
 *
 * One process after the other works, for a second or so, and is killed, or
 * exits, or closes what it has first: what the kernel must clean up is part of
 * the test, and memory stays bounded. What goes wrong in the kernel is for the
 * kernel's own checkers to see; this program sees errors that the interface
 * does not document, attributes that are not what was set, and processes that
 * do not end.
 *
 * It exits with 0, with 1 if the kernel broke its contract, with 2 if it could
 * not run or did not get where it should.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "objects.h"
#include "ops.h"
#include "report.h"
#include "setup.h"

#define MAX_THREADS       16
#define TICK_NS           40000000 /* interrupts what a thread waits for */
#define LONGEST_WORKER_MS 4000
#define HANG_S            120
#define MOST_REACHED_S    30 /* in a run of this length most operations have to succeed once, */
#define ALL_SEEN_S        600 /* and in a run of this length everything has to be seen */

enum end { END_KILLED, END_EXITS, END_CLOSES, NR_ENDS };

static uint64_t seed;
static unsigned int seconds = 60;
static unsigned int nr_threads = 6;

struct guest_ram homes[POOL_HOMES];
bool in_child;
int kvm_fd;
const char *object_folder;

static char bpffs[] = "/tmp/kvmbpf-fuzz-XXXXXX";
const char *pin_folder = bpffs;

static struct op ops[REPORT_MAX_OPS];
static unsigned int nr_ops;
static unsigned int total_weight;
static pthread_t threads[MAX_THREADS];

int checked_ioctl(int fd, unsigned long request, void *argument)
{
	int r = ioctl(fd, request, argument);

	return r < 0 ? -errno : r;
}

static bool is_any_calls_errno(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOMEM || error == EINTR;
}

/* Is it a success, or one of the errors that are documented for the call? */
void check_errno(const char *what, int r, const int *allowed)
{
	if (r >= 0 || is_any_calls_errno(-r))
		return;

	for (; *allowed >= 0; allowed++)
		if (*allowed == -r)
			return;

	report_violation("%s failed with %d", what, -r);
}

static void add_ops(const struct op *list)
{
	for (; list->name; list++) {
		if (nr_ops == REPORT_MAX_OPS)
			errx(2, "too many operations");
		ops[nr_ops++] = *list;
		total_weight += list->weight;
	}
}

static unsigned int pick_op(struct rng *rng)
{
	unsigned int at = rng_below(rng, total_weight), i = 0;

	while (at >= ops[i].weight)
		at -= ops[i++].weight;
	return i;
}

static void make_op(unsigned int i, struct rng *rng)
{
	int r = ops[i].make(rng);

	if (r != OP_SKIP)
		report_result(i, r);
}

void make_any_op(struct rng *rng)
{
	unsigned int i = pick_op(rng);

	if (!in_child || ops[i].in_child)
		make_op(i, rng);
}

void signal_any_thread(struct rng *rng)
{
	pthread_kill(threads[rng_below(rng, nr_threads)], SIGUSR1);
}

/* ---- the worker ---------------------------------------------------------- */

static void ignore(int signal)
{
	(void)signal;
}

/* Interrupt this thread again and again, as guests may run for ever. */
static void start_ticks(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1 };
	struct itimerspec tick = { .it_interval.tv_nsec = TICK_NS, .it_value.tv_nsec = TICK_NS };
	timer_t timer;

	event._sigev_un._tid = gettid();
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &tick, NULL))
		err(2, "timer");
}

static void *be_thread(void *rng)
{
	start_ticks();
	for (;;)
		make_any_op(rng);
	return NULL;
}

static void start_threads(uint64_t worker)
{
	static struct rng rngs[MAX_THREADS];
	unsigned int i;

	/* All may be signalled from the start. */
	for (i = 0; i < nr_threads; i++)
		threads[i] = pthread_self();
	for (i = 0; i < nr_threads; i++) {
		rngs[i] = rng_stream(seed, worker * MAX_THREADS + i);
		errno = pthread_create(&threads[i], NULL, be_thread, &rngs[i]);
		if (errno)
			err(2, "pthread_create");
	}
}

/* Have something there from the start, which else takes half a worker's life. */
static void furnish(struct rng *rng)
{
	static const struct {
		const char *name;
		unsigned int times;
	} needed[] = {
		{ "create VM", 3 },      { "create vCPU", 8 }, { "create device", 8 },
		{ "create eventfd", 4 }, { "attach", 12 },     { "steer", 16 },
	};
	unsigned int i, j, k;

	for (i = 0; i < sizeof(needed) / sizeof(*needed); i++)
		for (j = 0; j < nr_ops; j++)
			for (k = 0; k < needed[i].times && !strcmp(ops[j].name, needed[i].name);
			     k++)
				make_op(j, rng);
}

static void sleep_ms(unsigned int ms)
{
	struct timespec left = { ms / 1000, ms % 1000 * 1000000L };

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

static void close_all(struct rng *rng)
{
	close_range(OPS_DEVICE_FD, OPS_DEVICE_FD + OPS_DEVICE_FDS - 1, 0);
	pool_close_all(rng);
}

static void be_worker(uint64_t worker, enum end end, unsigned int ms)
{
	struct sigaction action = { .sa_handler = ignore };
	struct rng rng = rng_stream(seed, ~worker);
	unsigned int i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGUSR1, &action, NULL);
	pool_init();
	for (i = 0; i < POOL_HOMES; i++)
		if (guest_map_ram(&homes[i], i))
			err(2, "mmap of guest memory");
	furnish(&rng);
	start_threads(worker);
	sleep_ms(ms);
	if (end == END_KILLED)
		pause();
	if (end == END_CLOSES)
		close_all(&rng);
	_exit(0);
}

/* ---- the one that starts them -------------------------------------------- */

static void print_stacks(pid_t pid)
{
	char command[128];

	snprintf(command, sizeof(command), "head -n 30 /proc/%d/task/*/stack >&2", pid);
	fprintf(stderr, "a worker does not end; its threads are in:\n");
	if (system(command))
		fprintf(stderr, "(not known)\n");
}

/* Wait for a process that is ending; one that does not is the kernel's fault. */
static int await_end(pid_t pid)
{
	unsigned int tries = HANG_S * 200;
	int status;

	while (tries--) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return status;
		sleep_ms(5);
	}

	print_stacks(pid);
	report_violation("a worker did not end within %u s", HANG_S);
	return -1;
}

static const enum report_event end_events[NR_ENDS] = {
	[END_KILLED] = EVENT_KILLED,
	[END_EXITS] = EVENT_EXITED,
	[END_CLOSES] = EVENT_CLOSED,
};

/* Return whether another worker may follow. */
static bool run_worker(uint64_t worker, struct rng *rng)
{
	unsigned int ms = 100 + rng_below(rng, LONGEST_WORKER_MS - 100);
	enum end end = rng_below(rng, NR_ENDS);
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		err(2, "fork");
	if (!pid)
		be_worker(worker, end, ms);

	if (end == END_KILLED) {
		sleep_ms(ms);
		kill(pid, SIGKILL);
	}
	status = await_end(pid);
	report_event(end_events[end]);
	if (status == -1)
		return false;
	if (WIFEXITED(status) && WEXITSTATUS(status))
		errx(2, "worker %lu failed", worker);
	if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
		errx(2, "worker %lu died of signal %d", worker, WTERMSIG(status));
	return true;
}

/* ---- set-up and end ------------------------------------------------------ */

static void print_runs(void)
{
	unsigned int i;

	printf("\n%-22s %9s %9s %9s %9s\n", "runs of", "read", "write", "reset", "later");
	for (i = 0; i < nr_objects; i++) {
		const __u64 *runs = objects[i].steer->runs;

		printf("%-22s %9llu %9llu %9llu %9llu\n", objects[i].name, runs[FUZZ_READ],
		       runs[FUZZ_WRITE], runs[FUZZ_RESET], runs[FUZZ_LATER]);
	}
}

static unsigned int objects_that_ran(void)
{
	unsigned int i, n = 0;

	for (i = 0; i < nr_objects; i++)
		n += objects[i].steer->runs[FUZZ_READ] && objects[i].steer->runs[FUZZ_WRITE];
	return n;
}

/* In a short run chance may leave out the rarest operations. */
static unsigned int may_miss(void)
{
	return seconds >= ALL_SEEN_S ? 0 : nr_ops / 10;
}

static int conclude(uint64_t workers)
{
	const char *names[REPORT_MAX_OPS];
	unsigned int i, missed;

	for (i = 0; i < nr_ops; i++)
		names[i] = ops[i].name;
	missed = report_print(names, nr_ops, seconds >= ALL_SEEN_S);
	print_runs();
	printf("\n%lu workers of %u threads, %u s, --seed %#lx\n", workers, nr_threads, seconds,
	       seed);
	report_print_violations();
	if (report->nr_violations)
		return 1;
	if (seconds >= ALL_SEEN_S)
		missed += nr_objects - objects_that_ran();
	if (seconds >= MOST_REACHED_S && (missed > may_miss() || !objects_that_ran())) {
		printf("FAILED: something above was never reached\n");
		return 2;
	}
	return 0;
}

static void parse(int argc, char **argv)
{
	static const struct number_option numbers[] = {
		{ "seconds", &seconds },
		{ "threads", &nr_threads },
		{},
	};
	static const char usage[] = "fuzz [--seed N] [--seconds N] [--threads N] OBJECTS";

	object_folder = setup_options(argc, argv, usage, &seed, numbers);
	if (!nr_threads || nr_threads > MAX_THREADS)
		errx(2, "--threads is 1 to %u", MAX_THREADS);
}

static void set_up(void)
{
	struct rlimit limit;

	report_init();
	objects_find_layout();
	objects_open(object_folder);
	setup_bpffs(bpffs);
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm_fd < 0)
		err(2, "/dev/kvm");
	add_ops(vm_ops);
	add_ops(device_ops);
	add_ops(bpf_ops);
	add_ops(process_ops);
}

int main(int argc, char **argv)
{
	uint64_t worker = 0;
	struct rng rng;
	time_t end;

	parse(argc, argv);
	printf("fuzz: --seed %#lx --seconds %u --threads %u\n", seed, seconds, nr_threads);
	fflush(stdout);
	set_up();
	rng = rng_stream(seed, ~0ULL);
	end = time(NULL) + seconds;
	while (time(NULL) < end && run_worker(worker, &rng))
		worker++;
	setup_bpffs_end(bpffs);
	return conclude(worker);
}
