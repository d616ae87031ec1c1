// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Operations on descriptors and processes, whatever the descriptors are.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/kvm.h>

#include "ops.h"
#include "report.h"

#define CHILD_OPS 20

static int close_any(struct rng *rng)
{
	return pool_drop(rng_below(rng, POOL_KINDS), rng) ? 0 : OP_SKIP;
}

/* A second slot for the same: its owner may close it and not be the last. */
static int dup_any(struct rng *rng)
{
	struct ref ref;

	if (!pool_take_any(rng, &ref))
		return OP_SKIP;

	pool_put(ref.kind, rng, ref.fd, ref.home, &ref.model);
	return 0;
}

static void be_child(struct rng *rng)
{
	unsigned int i, n = 1 + rng_below(rng, CHILD_OPS);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	in_child = true;
	for (i = 0; i < n; i++)
		make_any_op(rng);
	report_event(EVENT_FOREIGN);
	_exit(0);
}

/* Another process, and another address space, with the descriptors of this one. */
static int fork_child(struct rng *rng)
{
	struct rng childs = rng_stream(rng_next(rng), 0);
	useconds_t us = rng_below(rng, 20000);
	pid_t pid;

	pid = pool_fork();
	if (pid < 0)
		return -errno;
	if (!pid)
		be_child(&childs);

	if (rng_one_in(rng, 2)) {
		usleep(us);
		kill(pid, SIGKILL);
	}
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return 0;
}

static void be_poor_child(const struct ref *vm)
{
	struct kvm_create_device request = { .type = KVM_DEV_TYPE_BPF };
	const struct rlimit none = {};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setrlimit(RLIMIT_NOFILE, &none);
	_exit(-checked_ioctl(vm->fd, KVM_CREATE_DEVICE, &request));
}

/* No room for the descriptor of a new device: what was made must go. */
static int create_without_room(struct rng *rng)
{
	struct ref vm;
	int status;
	pid_t pid;

	if (!pool_take(POOL_VM, rng, &vm))
		return OP_SKIP;

	pid = pool_fork();
	if (!pid)
		be_poor_child(&vm);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	pool_release(&vm);
	if (pid < 0)
		return -errno;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != EMFILE)
		report_violation("create device without room: status %#x", status);
	return 0;
}

static int signal_thread(struct rng *rng)
{
	signal_any_thread(rng);
	return 0;
}

/* Requests that change what the others work on, or look at it. */
static const unsigned long kvm_requests[] = {
	KVM_GET_REGS,
	KVM_GET_LAPIC,
	KVM_SET_LAPIC,
	KVM_GET_MP_STATE,
	KVM_SET_MP_STATE,
	KVM_GET_VCPU_EVENTS,
	KVM_SET_VCPU_EVENTS,
	KVM_NMI,
	KVM_GET_CLOCK,
	KVM_GET_IRQCHIP,
	KVM_SET_IRQCHIP,
	KVM_CREATE_PIT2,
	KVM_SET_BOOT_CPU_ID,
	KVM_RESET_DIRTY_RINGS,
	KVM_REGISTER_COALESCED_MMIO,
	KVM_UNREGISTER_COALESCED_MMIO,
	KVM_SET_TSS_ADDR,
	KVM_SIGNAL_MSI,
	KVM_CHECK_EXTENSION,
	KVM_SET_GUEST_DEBUG,
};

/* Any request to any descriptor; what it does is not known. */
static int any_ioctl(struct rng *rng)
{
	char buffer[4096] = {};
	unsigned long request = rng_pick(rng, kvm_requests);
	struct ref ref;
	int r;

	if (rng_one_in(rng, 8))
		request = _IOC(rng_below(rng, 4), KVMIO, rng_below(rng, 256), rng_below(rng, 64));
	if (rng_one_in(rng, 2))
		*(uint64_t *)buffer = guest_place(rng);
	if (request == KVM_SMI) /* see msi_data() */
		return OP_SKIP;
	if (!pool_take_any(rng, &ref))
		return OP_SKIP;

	r = checked_ioctl(ref.fd, request, rng_one_in(rng, 8) ? (void *)rng_odd(rng) : buffer);
	pool_release(&ref);
	return r;
}

static int rest(struct rng *rng)
{
	usleep(rng_below(rng, 1000));
	return 0;
}

const struct op process_ops[] = {
	{ "close", 4, close_any, true },
	{ "dup", 4, dup_any, true },
	{ "fork a child", 4, fork_child, false },
	{ "create without room", 1, create_without_room, false },
	{ "signal", 4, signal_thread, false },
	{ "any ioctl", 8, any_ioctl, true },
	{ "rest", 2, rest, true },
	{},
};
