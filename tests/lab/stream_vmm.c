// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A VMM whose vCPUs read one port as fast as KVM can give them replies
 *
 * Problem: to see that no access is lost among a thousand million, a guest that makes
 * each by an instruction of its own takes days where KVM is emulated.
 * Approach: REP INSD. KVM answers the reads of such an instruction one by one, each by
 * the device's program, but enters and leaves the guest for hundreds of them at once.
 * All that came is in the guest's memory when it writes to END_PORT; the vCPU's thread
 * then looks at each reply (tests/lab/progs/stream.bpf.h has its parts).
 *
 * It is told what to do by lines: "go"; "look", which it answers by what was seen so
 * far, as JSON, one object a vCPU; "stop", likewise when all vCPUs stand still.
 * Obsolete when: never.
 */
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include <linux/kvm.h>

#define MAX_VCPUS 16
#define END_PORT  0x80
/* A segment for each vCPU after the first, which has the code. */
#define SEGMENT 0x10000
#define REPLIES 0x2000 /* of each REP INSD, 4 bytes each */

/* The parts of a reply. */
#define REPLY_VERSION    0x10000
#define REPLY_GENERATION 17
#define GENERATION_MASK  0x7f
#define CHECKSUM_SEED    0x5a

struct seen {
	uint64_t reads;
	uint64_t wrong; /* the checksum does not fit */
	uint64_t lost; /* the number is not one more than the one before */
	uint64_t back; /* the generation is an older one */
	uint64_t mixed; /* this version does not answer in this generation */
	uint64_t changes; /* of the generation */
};

struct vcpu {
	pthread_t thread;
	int fd;
	struct kvm_run *run;
	const uint32_t *replies;
	uint32_t before; /* the last reply */
	struct seen seen;
};

static struct vcpu vcpus[MAX_VCPUS];
static unsigned int nr_vcpus;
static bool stopped;

/* 16-bit, at 0. REPLIES is 0x2000 in it, END_PORT 0x80. */
static const char code[] = "\x31\xff" /* begin: xor di, di */
			   "\xb9\x00\x20" /* mov cx, REPLIES */
			   "\xf3\x66\x6d" /* rep insd */
			   "\xe6\x80" /* out END_PORT, al */
			   "\xeb\xf4"; /* jmp begin */

/* ---- what came ----------------------------------------------------------- */

static void add(uint64_t *count, uint64_t number)
{
	__atomic_store_n(count, *count + number, __ATOMIC_RELAXED);
}

static void look_at(struct vcpu *vcpu, uint32_t reply)
{
	uint32_t generation = reply >> REPLY_GENERATION & GENERATION_MASK;
	uint32_t steps = generation - (vcpu->before >> REPLY_GENERATION);

	steps &= GENERATION_MASK;
	if ((reply >> 24 ^ reply >> 16 ^ reply >> 8 ^ reply ^ CHECKSUM_SEED) & 0xff)
		add(&vcpu->seen.wrong, 1);
	if ((uint16_t)(reply - vcpu->before) != 1)
		add(&vcpu->seen.lost, 1);
	if (!(reply & REPLY_VERSION) != !(generation & 1))
		add(&vcpu->seen.mixed, 1);
	if (steps > GENERATION_MASK / 2)
		add(&vcpu->seen.back, 1);
	else if (steps)
		add(&vcpu->seen.changes, steps);
	vcpu->before = reply;
}

static void look_at_all(struct vcpu *vcpu)
{
	unsigned int i;

	for (i = 0; i < REPLIES; i++)
		look_at(vcpu, vcpu->replies[i]);
	add(&vcpu->seen.reads, REPLIES);
}

static void print_seen(void)
{
	unsigned int i;

	for (i = 0; i < nr_vcpus; i++) {
		const struct seen *seen = &vcpus[i].seen;

		printf("%s{\"reads\": %lu, \"wrong\": %lu, \"lost\": %lu, \"back\": %lu, "
		       "\"mixed\": %lu, \"changes\": %lu}",
		       i ? ", " : "[", seen->reads, seen->wrong, seen->lost, seen->back,
		       seen->mixed, seen->changes);
	}
	puts("]");
}

/* ---- the VM -------------------------------------------------------------- */

static void set_registers(int fd, unsigned int number, uint16_t port)
{
	struct kvm_regs regs = { .rflags = 2, .rdx = port };
	struct kvm_sregs sregs;

	if (ioctl(fd, KVM_GET_SREGS, &sregs))
		err(2, "KVM_GET_SREGS");
	sregs.cs.base = sregs.cs.selector = 0;
	sregs.es.base = (number + 1) * SEGMENT;
	if (ioctl(fd, KVM_SET_SREGS, &sregs) || ioctl(fd, KVM_SET_REGS, &regs))
		err(2, "KVM_SET_SREGS, KVM_SET_REGS");
}

static void make_vcpu(int kvm, int vm, unsigned int number, uint16_t port, const char *memory)
{
	int bytes = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	struct vcpu *vcpu = &vcpus[number];

	vcpu->fd = ioctl(vm, KVM_CREATE_VCPU, number);
	if (vcpu->fd < 0)
		err(2, "KVM_CREATE_VCPU");
	vcpu->run = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED)
		err(2, "mmap of a vCPU");
	vcpu->replies = (const uint32_t *)(memory + (number + 1) * SEGMENT);
	set_registers(vcpu->fd, number, port);
}

static void make_vm(uint16_t port)
{
	size_t bytes = (size_t)(nr_vcpus + 1) * SEGMENT;
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm;
	char *memory =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region region = {
		.memory_size = bytes,
		.userspace_addr = (uintptr_t)memory,
	};
	unsigned int i;

	if (kvm < 0)
		err(2, "/dev/kvm");
	if (memory == MAP_FAILED)
		err(2, "mmap");
	memcpy(memory, code, sizeof(code));
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0 || ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region))
		err(2, "KVM_CREATE_VM, KVM_SET_USER_MEMORY_REGION");
	for (i = 0; i < nr_vcpus; i++)
		make_vcpu(kvm, vm, i, port, memory);
}

static void *run_vcpu(void *argument)
{
	struct vcpu *vcpu = argument;

	while (!__atomic_load_n(&stopped, __ATOMIC_RELAXED)) {
		if (ioctl(vcpu->fd, KVM_RUN, 0))
			err(2, "KVM_RUN");
		if (vcpu->run->exit_reason != KVM_EXIT_IO || vcpu->run->io.port != END_PORT)
			errx(1, "the guest left KVM with exit reason %u", vcpu->run->exit_reason);
		look_at_all(vcpu);
	}
	return NULL;
}

/* ---- what it is told ----------------------------------------------------- */

static void go(void)
{
	unsigned int i;

	stopped = false;
	for (i = 0; i < nr_vcpus; i++)
		if (pthread_create(&vcpus[i].thread, NULL, run_vcpu, &vcpus[i]))
			errx(2, "pthread_create");
	puts("gone");
}

static void stop(void)
{
	unsigned int i;

	__atomic_store_n(&stopped, true, __ATOMIC_RELAXED);
	for (i = 0; i < nr_vcpus; i++)
		pthread_join(vcpus[i].thread, NULL);
	print_seen();
}

static void obey(const char *line)
{
	if (!strcmp(line, "go\n"))
		go();
	else if (!strcmp(line, "look\n"))
		print_seen();
	else if (!strcmp(line, "stop\n"))
		stop();
	else
		errx(2, "not known: %s", line);
}

int main(int argc, char **argv)
{
	char line[16];

	if (argc != 3)
		errx(2, "usage: stream_vmm VCPUS PORT");
	nr_vcpus = strtoul(argv[1], NULL, 0);
	if (!nr_vcpus || nr_vcpus > MAX_VCPUS)
		errx(2, "VCPUS: 1 to %u", MAX_VCPUS);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	make_vm(strtoul(argv[2], NULL, 0));
	puts("ready");
	while (fgets(line, sizeof(line), stdin))
		obey(line);
	return 0;
}
