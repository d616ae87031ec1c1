// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The two that are killed: a VMM whose vCPUs hammer a device, and a manager that
 * makes the device, attaches, replaces and detaches its programs. Whatever
 * fails without the other's death being the reason is a violation.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <linux/kvm.h>

#include "guest.h"
#include "kill.h"
#include "objects.h"
#include "report.h"

#define VCPUS   2
#define UPDATES 4

struct kill_round *kill_round;
const char *kill_pin;

static struct guest_ram ram;

uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static bool burning;

/* A step of one that burns: a signal has its effect between system calls mostly. */
static void step(void)
{
	if (burning && !--kill_round->fuse_steps)
		kill(getpid(), SIGKILL);
}

/* The kernel's timer is on time where another process may not be. */
static void light_fuse(uint64_t ns)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL };
	struct itimerspec fuse = { .it_value = { ns / 1000000000, ns % 1000000000 } };
	timer_t timer;

	burning = kill_round->fuse_steps;
	step();
	if (burning)
		return;
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &fuse, NULL))
		report_violation("a timer: %d", errno);
}

void enter(enum phase phase)
{
	if (!kill_round->began_ns[phase])
		kill_round->began_ns[phase] = now_ns();
	__atomic_store_n(phase < FIRST_OF_MANAGER ? &kill_round->vmm_phase
						  : &kill_round->manager_phase,
			 phase, __ATOMIC_RELEASE);
	__atomic_store_n(&kill_round->reached[phase], 1, __ATOMIC_RELEASE);
	if (kill_round->fuse_ns && kill_round->fuse_phase == (int)phase)
		light_fuse(kill_round->fuse_ns);
}

/* Go on only if a call worked; it may be called with what it returned. */
static int must(const char *what, int r)
{
	step();
	if (r >= 0)
		return r;

	report_violation("%s failed with %d in the kill test", what, -r);
	_exit(0);
}

static int must_ioctl(const char *what, int fd, unsigned long request, unsigned long argument)
{
	int r = ioctl(fd, request, argument);

	return must(what, r < 0 ? -errno : r);
}

/* ---- a descriptor from one process to the other -------------------------- */

union control {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(int))];
};

static void send_fd(int channel, int fd)
{
	union control control = {};
	struct iovec data = { .iov_base = "v", .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};

	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	/* The manager may be dead: that is no reason to end. */
	if (sendmsg(channel, &message, MSG_NOSIGNAL) < 0)
		return;
}

static int receive_fd(int channel)
{
	union control control = {};
	char byte;
	struct iovec data = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	int fd;

	if (recvmsg(channel, &message, MSG_CMSG_CLOEXEC) <= 0 || !control.header.cmsg_len)
		return -1;

	memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
	return fd;
}

/* ---- the VMM ------------------------------------------------------------- */

static void *run_vcpu(void *argument)
{
	int vcpu = (long)argument;

	for (;;) {
		if (ioctl(vcpu, KVM_RUN, 0) && errno != EINTR && errno != EAGAIN)
			must("run", -errno);
		__atomic_fetch_add(&kill_round->exits, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void start_vcpus(int vm)
{
	pthread_t thread;
	long vcpu;
	int i;

	for (i = 0; i < VCPUS; i++) {
		vcpu = must_ioctl("create vCPU", vm, KVM_CREATE_VCPU, i);
		must("set vCPU", guest_hammer(&ram, vcpu, 0x1000 * (i + 1)));
		must("thread", -pthread_create(&thread, NULL, run_vcpu, (void *)vcpu));
	}
}

static void fork_manager(int vm)
{
	pid_t pid = fork();

	if (pid < 0)
		must("fork", -errno);
	if (!pid)
		be_manager(vm, -1);
	__atomic_store_n(&kill_round->manager, pid, __ATOMIC_RELEASE);
}

void be_vmm(int kvm, int channel)
{
	int vm;

	enter(VMM_STARTS);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	must("memory", guest_map_ram(&ram, 0));
	enter(VMM_CREATES_VM);
	vm = must_ioctl("create VM", kvm, KVM_CREATE_VM, 0);
	enter(VMM_SETS_MEMORY);
	must("set memory", guest_set_memory(vm, &ram));
	enter(VMM_CREATES_IRQCHIP);
	must_ioctl("create irqchip", vm, KVM_CREATE_IRQCHIP, 0);
	enter(VMM_HANDS_OVER);
	if (kill_round->inherits)
		fork_manager(vm);
	else
		send_fd(channel, vm);
	enter(VMM_CREATES_VCPUS);
	start_vcpus(vm);
	enter(VMM_RUNS);
	for (;;)
		pause();
}

/* ---- the manager --------------------------------------------------------- */

static void set_attr(int device, uint32_t group, uint64_t index, const void *data)
{
	struct kvm_device_attr attr = {
		.group = group,
		.attr = index,
		.addr = (unsigned long)data,
	};

	must_ioctl("set attribute", device, KVM_SET_DEVICE_ATTR, (unsigned long)&attr);
}

static int create_device(int vm)
{
	struct kvm_create_device request = { .type = KVM_DEV_TYPE_BPF };

	must_ioctl("create device", vm, KVM_CREATE_DEVICE, (unsigned long)&request);
	return request.fd;
}

static void configure(int device)
{
	const struct kvm_bpf_region mmio = { .base = GUEST_WINDOW, .size = 0x1000 };
	const struct kvm_bpf_region pio = {
		.bus = KVM_BPF_BUS_PIO,
		.base = GUEST_PORTS,
		.size = 8,
	};
	const struct kvm_bpf_irq edge = { .gsi = 5 };
	const struct kvm_bpf_irq level = { .gsi = 6, .flags = KVM_BPF_IRQ_LEVEL };
	const struct kvm_bpf_limits limits = { .max_faults = 1000, .max_run_ns = 1000000000 };

	set_attr(device, KVM_DEV_BPF_REGION, 0, &mmio);
	set_attr(device, KVM_DEV_BPF_REGION, 1, &pio);
	set_attr(device, KVM_DEV_BPF_IRQ, 0, &edge);
	set_attr(device, KVM_DEV_BPF_IRQ, 1, &level);
	set_attr(device, KVM_DEV_BPF_LIMITS, 0, &limits);
	set_attr(device, KVM_DEV_BPF_STATS_ENABLE, 0, &(uint32_t){ 1 });
}

static int make_map(const struct object *object, int device)
{
	struct ops_value value = object_value(object, device);

	return must("make map", ops_map_of(&value));
}

static void replace_often(const struct object *object, int link)
{
	int i, map;

	for (i = 0; i < UPDATES; i++) {
		map = make_map(object, 0);
		must("update", ops_link_update(link, map, -1));
		close(map);
	}
}

static void load(struct object *object)
{
	must("load", object_load_again(object));
	object->steer->irq = 1;
	object->steer->level = 1;
	object->steer->choice = 9;
	object->steer->len = 8;
	object->steer->gpa = GUEST_DATA_GPA;
}

static void manage(struct object *object, int vm)
{
	int device, map, link;

	enter(MANAGER_CREATES_DEVICE);
	device = create_device(vm);
	enter(MANAGER_CONFIGURES);
	configure(device);
	enter(MANAGER_MAKES_MAP);
	map = make_map(object, device);
	enter(MANAGER_ATTACHES);
	link = must("attach", ops_link_create(map));
	enter(MANAGER_PINS);
	must("pin", bpf_pin(link, kill_pin));
	enter(MANAGER_UPDATES);
	replace_often(object, link);
	enter(MANAGER_UNPINS);
	must("unpin", unlink(kill_pin) ? -errno : 0);
	enter(MANAGER_DETACHES);
	must("detach", ops_link_detach(link));
	enter(MANAGER_CLOSES);
	close(link);
	close(map);
	close(device);
	close(vm);
}

/* With the VM, or a channel that it comes through. */
void be_manager(int vm, int channel)
{
	enter(MANAGER_STARTS);
	if (vm < 0)
		vm = receive_fd(channel);
	if (vm < 0) {
		kill_round->vm_lost = true;
		_exit(0);
	}
	enter(MANAGER_LOADS);
	load(&objects[0]);
	manage(&objects[0], vm);
	kill_round->manager_done = true;
	_exit(0);
}
