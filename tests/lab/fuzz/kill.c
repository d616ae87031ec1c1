// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Kill a VMM, or the manager of its device, or both, at any point; then see
 * that nothing of them is left in the kernel.
 *
 * A round forks both from a process that has everything ready, lets them go
 * on for a random time and kills; the times come from rounds in which nothing
 * was killed, so that all phases are hit, the short ones too. What may be left
 * is a pin, if the manager died with its link pinned. What the kernel frees in
 * the background has to be gone within a bounded time.
 *
 * It exits with 0, with 1 if something was left or failed, with 2 if it could
 * not run or a phase was never hit.
 */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/bpf.h>

#include "kill.h"
#include "objects.h"
#include "random.h"
#include "report.h"
#include "setup.h"

#define PATIENCE_NS    (20 * 1000000000ULL)
#define CALIBRATIONS   5
#define SCAN_EACH      50 /* rounds, of all processes' descriptors */
#define ALL_HIT_ROUNDS 300 /* in so many rounds no phase may be left out */
#define VMS_FOLDER     "/sys/kernel/debug/kvm"
#define FUSE_SLACK_NS  500000
#define POLL_US        50

enum victim { VICTIM_VMM, VICTIM_MANAGER, VICTIM_BOTH, VICTIM_BOTH_MANAGER_FIRST, NR_VICTIMS };

static const char *const phase_names[NR_PHASES] = {
	[VMM_STARTS] = "VMM starts",
	[VMM_CREATES_VM] = "VMM creates the VM",
	[VMM_SETS_MEMORY] = "VMM sets the memory",
	[VMM_CREATES_IRQCHIP] = "VMM creates the irqchip",
	[VMM_HANDS_OVER] = "VMM hands the VM over",
	[VMM_CREATES_VCPUS] = "VMM creates the vCPUs",
	[VMM_RUNS] = "VMM runs",
	[MANAGER_STARTS] = "manager waits for the VM",
	[MANAGER_LOADS] = "manager loads programs",
	[MANAGER_CREATES_DEVICE] = "manager creates the device",
	[MANAGER_CONFIGURES] = "manager configures it",
	[MANAGER_MAKES_MAP] = "manager makes a map",
	[MANAGER_ATTACHES] = "manager attaches",
	[MANAGER_PINS] = "manager pins",
	[MANAGER_UPDATES] = "manager updates",
	[MANAGER_UNPINS] = "manager unpins",
	[MANAGER_DETACHES] = "manager detaches",
	[MANAGER_CLOSES] = "manager closes all",
};

static uint64_t seed;
static unsigned int rounds = 500;
static int kvm;
static char bpffs[] = "/tmp/kvmbpf-kill-XXXXXX";
static uint64_t phase_ns[NR_PHASES];
static uint64_t cycle_ns; /* the shortest: what delays one of them delays no round */
static unsigned int hits[NR_PHASES], victims[NR_VICTIMS], pins_left, ends_before;
static uint64_t longest_wait_ns;

static const struct {
	const char *name;
	int command;
} kinds[] = {
	{ "link", BPF_LINK_GET_NEXT_ID },
	{ "map", BPF_MAP_GET_NEXT_ID },
	{ "program", BPF_PROG_GET_NEXT_ID },
};

#define NR_KINDS (sizeof(kinds) / sizeof(*kinds))

static uint32_t last_ids[NR_KINDS];

static void rest(void)
{
	usleep(POLL_US);
}

/* ---- what is left -------------------------------------------------------- */

static uint32_t last_id(int command)
{
	uint32_t id = 0, last = 0;

	while (!bpf_next_id(command, &id))
		last = id;
	return last;
}

static void note_baseline(void)
{
	unsigned int i;

	for (i = 0; i < NR_KINDS; i++)
		last_ids[i] = last_id(kinds[i].command);
}

static unsigned int vms(void)
{
	DIR *folder = opendir(VMS_FOLDER);
	struct dirent *entry;
	unsigned int n = 0;

	if (!folder)
		err(2, VMS_FOLDER);
	while ((entry = readdir(folder)))
		n += entry->d_type == DT_DIR && entry->d_name[0] != '.';
	closedir(folder);
	return n;
}

/* The first kind of which there is more than before the first round. */
static const char *leftover(void)
{
	unsigned int i;

	for (i = 0; i < NR_KINDS; i++)
		if (!bpf_next_id(kinds[i].command, &(uint32_t){ last_ids[i] }))
			return kinds[i].name;
	return vms() ? "VM" : NULL;
}

static void await_nothing_left(unsigned int round)
{
	uint64_t began_ns = now_ns(), waited_ns;
	const char *left;

	while ((left = leftover()) && now_ns() - began_ns < PATIENCE_NS)
		rest();
	waited_ns = now_ns() - began_ns;
	if (waited_ns > longest_wait_ns)
		longest_wait_ns = waited_ns;
	if (left) {
		report_violation("round %u left a %s", round, left);
		note_baseline();
	}
}

static bool is_kvm_fd(const char *process, const char *fd)
{
	char path[600], target[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%s/fd/%s", process, fd);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return false;
	target[n] = 0;
	return !strncmp(target, "anon_inode:kvm", 14) || !strncmp(target, "anon_inode:[kvm", 15);
}

static bool holds_kvm_fd(const char *process)
{
	bool found = false;
	struct dirent *fd;
	char path[300];
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%s/fd", process);
	folder = opendir(path);
	while (folder && (fd = readdir(folder)))
		found = found || is_kvm_fd(process, fd->d_name);
	if (folder)
		closedir(folder);
	return found;
}

static void scan_processes(unsigned int round)
{
	DIR *folder = opendir("/proc");
	struct dirent *process;

	while (folder && (process = readdir(folder)))
		if (process->d_name[0] >= '1' && process->d_name[0] <= '9' &&
		    holds_kvm_fd(process->d_name))
			report_violation("round %u left a descriptor of KVM's in process %s", round,
					 process->d_name);
	if (folder)
		closedir(folder);
}

/* ---- a round ------------------------------------------------------------- */

struct parties {
	pid_t vmm;
	pid_t manager; /* 0: there is none */
};

static pid_t fork_manager(int channel, int other)
{
	pid_t pid = fork();

	if (pid < 0)
		err(2, "fork");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(other);
		be_manager(-1, channel);
	}
	return pid;
}

/* Half of the rounds are to end in a phase that is chosen, however short it is. */
static void choose_phase(struct rng *rng)
{
	if (rng_one_in(rng, 2))
		return;

	kill_round->fuse_phase = rng_below(rng, NR_PHASES);
	kill_round->fuse_ns = 1 + rng_below(rng, phase_ns[kill_round->fuse_phase] + 1000);
	kill_round->fuse_steps = rng_below(rng, 4);
}

static struct parties start(struct rng *rng, bool to_kill)
{
	struct parties parties = {};
	int channel[2];

	memset(kill_round, 0, sizeof(*kill_round));
	kill_round->manager_phase = -1;
	kill_round->vmm_phase = -1;
	kill_round->inherits = rng_one_in(rng, 3);
	if (to_kill)
		choose_phase(rng);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel))
		err(2, "socketpair");

	parties.vmm = fork();
	if (parties.vmm < 0)
		err(2, "fork");
	if (!parties.vmm) {
		close(channel[1]);
		be_vmm(kvm, channel[0]);
	}
	if (!kill_round->inherits)
		parties.manager = fork_manager(channel[1], channel[0]);
	close(channel[0]);
	close(channel[1]);
	return parties;
}

/* Wait for a process to end; 0 if it does not. */
static bool await(pid_t pid)
{
	uint64_t began_ns = now_ns();

	while (waitpid(pid, NULL, WNOHANG) == 0) {
		if (now_ns() - began_ns > PATIENCE_NS)
			return false;
		rest();
	}
	return true;
}

static void reap_all(unsigned int round)
{
	uint64_t began_ns = now_ns();
	pid_t pid;

	/* A manager that the VMM forked has become a child of this process. */
	while ((pid = waitpid(-1, NULL, WNOHANG)) >= 0) {
		if (!pid && now_ns() - began_ns > PATIENCE_NS)
			errx(1, "VIOLATION: a killed process does not end, round %u", round);
		if (!pid)
			rest();
	}
}

static pid_t manager_of(const struct parties *parties)
{
	if (parties->manager)
		return parties->manager;

	return __atomic_load_n(&kill_round->manager, __ATOMIC_ACQUIRE);
}

static void kill_manager(const struct parties *parties)
{
	pid_t pid = manager_of(parties);

	if (pid > 0)
		kill(pid, SIGKILL);
}

static void note_phases(void)
{
	if (kill_round->vmm_phase >= 0)
		hits[kill_round->vmm_phase]++;
	if (kill_round->manager_done)
		ends_before++;
	else if (kill_round->manager_phase >= 0)
		hits[kill_round->manager_phase]++;
}

/* The manager is alone: it has to come to its end. */
static void await_lone_manager(const struct parties *parties, unsigned int round)
{
	uint64_t began_ns = now_ns();

	if (manager_of(parties) <= 0)
		return;

	while (!kill_round->manager_done && !kill_round->vm_lost && !report->nr_violations) {
		if (now_ns() - began_ns > PATIENCE_NS) {
			report_violation("round %u: the manager hangs in phase \"%s\"", round,
					 phase_names[kill_round->manager_phase]);
			break;
		}
		rest();
	}
}

static bool remove_pin(void)
{
	if (!unlink(kill_pin)) {
		pins_left++;
		return true;
	}
	return false;
}

/* The VMM is alone: its guest has to go on, and to come out as the device is gone. */
static void await_lone_vmm(const struct parties *parties, unsigned int round)
{
	uint64_t began_ns = now_ns(), exits;

	remove_pin();
	exits = kill_round->exits;
	while (kill_round->exits < exits + 4) {
		if (waitpid(parties->vmm, NULL, WNOHANG) == parties->vmm ||
		    now_ns() - began_ns > PATIENCE_NS) {
			report_violation("round %u: the guest does not go on", round);
			break;
		}
		rest();
	}
}

static void kill_some(const struct parties *parties, enum victim victim, unsigned int round)
{
	note_phases();
	switch (victim) {
	case VICTIM_VMM:
		kill(parties->vmm, SIGKILL);
		await_lone_manager(parties, round);
		break;
	case VICTIM_MANAGER:
		if (manager_of(parties) <= 0)
			break;
		kill_manager(parties);
		if (parties->manager && !await(parties->manager))
			report_violation("round %u: the killed manager does not end", round);
		await_lone_vmm(parties, round);
		break;
	case VICTIM_BOTH_MANAGER_FIRST:
		kill_manager(parties);
		break;
	default:
		break;
	}
	/* With the VMM gone first it forks no manager that is not seen here. */
	kill(parties->vmm, SIGKILL);
	await(parties->vmm);
	kill_manager(parties);
}

static void check_pin(unsigned int round)
{
	int phase = kill_round->manager_phase;

	if (remove_pin() && phase != MANAGER_PINS && phase != MANAGER_UPDATES &&
	    phase != MANAGER_UNPINS)
		report_violation("round %u left a pin in phase %d", round, phase);
}

/* ---- when to kill -------------------------------------------------------- */

static void await_phase(enum phase phase)
{
	uint64_t began_ns = now_ns();

	while (!__atomic_load_n(&kill_round->reached[phase], __ATOMIC_ACQUIRE) &&
	       now_ns() - began_ns < 2 * cycle_ns)
		rest();
}

static void sleep_ns(uint64_t ns)
{
	uint64_t until_ns = now_ns() + ns;

	if (ns > 200000)
		usleep((ns - 100000) / 1000);
	while (now_ns() < until_ns)
		;
}

/* Any time of the cycle, or the one at which one of them dies of its fuse. */
static void await_moment(struct rng *rng)
{
	if (!kill_round->fuse_ns) {
		sleep_ns(rng_below(rng, cycle_ns + cycle_ns / 4));
		return;
	}

	await_phase(kill_round->fuse_phase);
	sleep_ns(kill_round->fuse_ns + FUSE_SLACK_NS);
}

static enum victim choose_victim(struct rng *rng)
{
	if (!kill_round->fuse_ns)
		return rng_below(rng, NR_VICTIMS);
	if (kill_round->fuse_phase < FIRST_OF_MANAGER)
		return rng_one_in(rng, 2) ? VICTIM_VMM : VICTIM_BOTH;

	return rng_one_in(rng, 2) ? VICTIM_MANAGER : VICTIM_BOTH_MANAGER_FIRST;
}

static void note_times(void)
{
	unsigned int i, next;

	for (i = 0; i < NR_PHASES; i++) {
		for (next = 0; next < NR_PHASES; next++) {
			uint64_t ns = kill_round->began_ns[next] - kill_round->began_ns[i];

			if ((i < FIRST_OF_MANAGER) == (next < FIRST_OF_MANAGER) &&
			    kill_round->began_ns[next] > kill_round->began_ns[i] &&
			    (!phase_ns[i] || ns < phase_ns[i]))
				phase_ns[i] = ns;
		}
	}
}

static void calibrate(struct rng *rng)
{
	unsigned int i;

	for (i = 0; i < CALIBRATIONS; i++) {
		uint64_t began_ns = now_ns(), took_ns;
		struct parties parties = start(rng, false);

		while (!kill_round->manager_done && now_ns() - began_ns < PATIENCE_NS)
			rest();
		if (!kill_round->manager_done)
			errx(2, "the manager does not end even if it is not killed");
		took_ns = now_ns() - began_ns;
		if (!cycle_ns || took_ns < cycle_ns)
			cycle_ns = took_ns;
		note_times();
		kill(parties.vmm, SIGKILL);
		reap_all(0);
		await_nothing_left(0);
	}
}

static void run_round(unsigned int round, struct rng *rng)
{
	struct parties parties = start(rng, true);
	enum victim victim = choose_victim(rng);

	victims[victim]++;
	await_moment(rng);
	kill_some(&parties, victim, round);
	reap_all(round);
	check_pin(round);
	await_nothing_left(round);
	if (round % SCAN_EACH == 0)
		scan_processes(round);
}

/* ---- set-up and end ------------------------------------------------------ */

static bool print_report(uint64_t ns)
{
	bool all = true;
	unsigned int i;

	printf("%9s  phase when killed, or when the other was\n", "times");
	for (i = 0; i < NR_PHASES; i++) {
		printf("%9u  %s (%lu us)\n", hits[i], phase_names[i], phase_ns[i] / 1000);
		all = all && hits[i];
	}
	printf("%9u  manager was at its end\n", ends_before);
	printf("\nkilled: the VMM %u, the manager %u, both %u, both with the manager first %u\n",
	       victims[VICTIM_VMM], victims[VICTIM_MANAGER], victims[VICTIM_BOTH],
	       victims[VICTIM_BOTH_MANAGER_FIRST]);
	printf("pins left by dead managers, and removed: %u\n", pins_left);
	printf("longest wait for what is freed in the background: %lu ms\n",
	       longest_wait_ns / 1000000);
	printf("a whole cycle: %lu ms\n", cycle_ns / 1000000);
	printf("%u rounds, %.1f a second, --seed %#lx\n", rounds, rounds * 1e9 / ns, seed);
	return all;
}

static void parse(int argc, char **argv)
{
	static const struct number_option numbers[] = { { "rounds", &rounds }, {} };
	static const char usage[] = "kill [--seed N] [--rounds N] OBJECT";

	object_open(&objects[0], setup_options(argc, argv, usage, &seed, numbers));
}

static void set_up(void)
{
	static char path[sizeof(bpffs) + 8];

	report_init();
	objects_find_layout();
	if (object_load(&objects[0]))
		errx(2, "the object does not load");
	setup_bpffs(bpffs);
	snprintf(path, sizeof(path), "%s/link", bpffs);
	kill_pin = path;
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		err(2, "/dev/kvm");
	kill_round = mmap(NULL, sizeof(*kill_round), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (kill_round == MAP_FAILED)
		err(2, "mmap");
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	note_baseline();
	if (vms())
		errx(2, "there are VMs already");
}

int main(int argc, char **argv)
{
	uint64_t began_ns;
	struct rng rng;
	unsigned int i;
	bool all;

	parse(argc, argv);
	printf("kill: --seed %#lx --rounds %u\n", seed, rounds);
	fflush(stdout);
	set_up();
	rng = rng_stream(seed, 0);
	calibrate(&rng);
	began_ns = now_ns();
	for (i = 1; i <= rounds && !report->nr_violations; i++)
		run_round(i, &rng);
	all = print_report(now_ns() - began_ns);
	report_print_violations();
	setup_bpffs_end(bpffs);
	if (report->nr_violations)
		return 1;
	if (rounds >= ALL_HIT_ROUNDS && !all) {
		printf("FAILED: a phase above was never hit\n");
		return 2;
	}
	return 0;
}
