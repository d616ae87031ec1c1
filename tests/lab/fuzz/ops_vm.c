// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Operations on VMs and vCPUs, which other processes than the VM's are refused.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/kvm.h>

#include "ops.h"
#include "report.h"

#define MAX_ENTRIES 6 /* of the interrupt routing */
#define MSI_MODE    0x700
#define MSI_SMI     0x200

/* A VM with all that a guest needs, or with less. */
static int create_vm_with(struct rng *rng, bool irqchip)
{
	unsigned int home = rng_below(rng, POOL_HOMES);
	struct kvm_enable_cap ring = { .cap = KVM_CAP_DIRTY_LOG_RING, .args = { 4096 } };
	int vm;

	vm = ioctl(kvm_fd, KVM_CREATE_VM, 0);
	if (vm < 0)
		return -errno;

	if (rng_one_in(rng, 8))
		ioctl(vm, KVM_ENABLE_CAP, &ring);
	if (!rng_one_in(rng, 8))
		guest_set_memory(vm, &homes[home]);
	if (irqchip)
		ioctl(vm, KVM_CREATE_IRQCHIP);
	pool_put(POOL_VM, rng, vm, home, NULL);
	return 0;
}

static int create_vm(struct rng *rng)
{
	return create_vm_with(rng, !rng_one_in(rng, 4));
}

static int create_irqchip(struct rng *rng)
{
	struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { 24 } };
	struct ref vm;
	int r;

	/* With vCPUs it is too late, and one that has it takes no other. */
	if (!in_child && rng_one_in(rng, 8))
		create_vm_with(rng, false);
	if (!pool_take(POOL_VM, rng, &vm))
		return OP_SKIP;

	if (rng_one_in(rng, 2))
		r = checked_ioctl(vm.fd, KVM_CREATE_IRQCHIP, NULL);
	else
		r = checked_ioctl(vm.fd, KVM_ENABLE_CAP, &split);
	pool_release(&vm);
	return r;
}

static int set_memory(struct rng *rng)
{
	struct kvm_userspace_memory_region region = {
		.slot = 1 + rng_below(rng, 3),
		.guest_phys_addr = rng_one_in(rng, 2) ? GUEST_DATA_GPA : guest_place(rng),
		.memory_size = rng_one_in(rng, 3) ? 0 : 0x1000 << rng_below(rng, 5),
	};
	struct ref vm;
	int r;

	/* As it is, but for what may be changed of it. */
	if (rng_one_in(rng, 2)) {
		region.slot = 1;
		region.guest_phys_addr = GUEST_DATA_GPA;
		region.memory_size = GUEST_DATA_BYTES;
	}
	if (!pool_take(POOL_VM, rng, &vm))
		return OP_SKIP;

	region.userspace_addr = (unsigned long)homes[vm.home].data;
	if (rng_one_in(rng, 2))
		region.flags |= KVM_MEM_LOG_DIRTY_PAGES;
	if (rng_one_in(rng, 8))
		region.flags |= KVM_MEM_READONLY;
	r = checked_ioctl(vm.fd, KVM_SET_USER_MEMORY_REGION, &region);
	pool_release(&vm);
	return r;
}

static int get_dirty_log(struct rng *rng)
{
	uint64_t bitmap[64];
	struct kvm_dirty_log log = { .slot = 1 + rng_below(rng, 2), .dirty_bitmap = bitmap };
	struct ref vm;
	int r;

	if (!pool_take(POOL_VM, rng, &vm))
		return OP_SKIP;

	r = checked_ioctl(vm.fd, KVM_GET_DIRTY_LOG, &log);
	pool_release(&vm);
	return r;
}

static int create_vcpu(struct rng *rng)
{
	struct ref vm;
	int vcpu;

	if (!pool_take(POOL_VM, rng, &vm))
		return OP_SKIP;

	vcpu = ioctl(vm.fd, KVM_CREATE_VCPU,
		     rng_one_in(rng, 16) ? rng_odd(rng) : rng_below(rng, 3));
	if (vcpu < 0)
		vcpu = -errno;
	else
		pool_put(POOL_VCPU, rng, vcpu, vm.home, NULL);
	pool_release(&vm);
	return vcpu;
}

/* Run until the guest is interrupted, or has been out a few times. */
static int run(struct rng *rng)
{
	unsigned int exits = 1 + rng_below(rng, 16);
	uint16_t at = 0x1000 + rng_below(rng, 8) * 0x100;
	struct kvm_run *shared;
	struct ref vcpu;
	int r;

	if (!pool_take(POOL_VCPU, rng, &vcpu))
		return OP_SKIP;

	shared = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu.fd, 0);
	if (!rng_one_in(rng, 3)) {
		guest_write_code(rng, &homes[vcpu.home], at);
		guest_set_registers(rng, vcpu.fd, at);
	}
	do {
		r = checked_ioctl(vcpu.fd, KVM_RUN, NULL);
		if (!r && shared != MAP_FAILED)
			report_exit(shared->exit_reason);
	} while (!r && --exits);
	if (shared != MAP_FAILED)
		munmap(shared, 0x1000);
	pool_release(&vcpu);
	return r;
}

static int ioeventfd(struct rng *rng)
{
	static const uint32_t lengths[] = { 0, 1, 2, 4, 8, 3 };
	struct kvm_ioeventfd request = {
		.datamatch = rng_odd(rng),
		.len = rng_pick(rng, lengths),
		.flags = rng_below(rng, 8),
	};
	struct ref vm, event;
	int r = OP_SKIP;

	if (!pool_take(POOL_VM, rng, &vm))
		return OP_SKIP;

	request.addr = request.flags & KVM_IOEVENTFD_FLAG_PIO ? guest_port(rng) : guest_place(rng);
	if (pool_take(POOL_EVENT, rng, &event)) {
		request.fd = event.fd;
		r = checked_ioctl(vm.fd, KVM_IOEVENTFD, &request);
		pool_release(&event);
	}
	pool_release(&vm);
	return r;
}

static int irqfd(struct rng *rng)
{
	struct kvm_irqfd request = { .gsi = rng_below(rng, 26), .flags = rng_below(rng, 2) };
	struct ref vm, event;
	int r = OP_SKIP;

	if (!pool_take(POOL_VM, rng, &vm))
		return OP_SKIP;

	if (pool_take(POOL_EVENT, rng, &event)) {
		request.fd = event.fd;
		r = checked_ioctl(vm.fd, KVM_IRQFD, &request);
		eventfd_write(event.fd, 1);
		pool_release(&event);
	}
	pool_release(&vm);
	return r;
}

static int irq_line(struct rng *rng)
{
	struct kvm_irq_level line = { .irq = rng_below(rng, 26), .level = rng_below(rng, 2) };
	struct ref vm;
	int r;

	if (!pool_take(POOL_VM, rng, &vm))
		return OP_SKIP;

	r = checked_ioctl(vm.fd, KVM_IRQ_LINE, &line);
	pool_release(&vm);
	return r;
}

/*
 * Any vector and delivery mode but SMI: these guests have no memory where its handler's
 * state is saved, and KVM ends a VM for that, without a word. All fails with EIO then.
 */
static uint32_t msi_data(struct rng *rng)
{
	uint32_t data = rng_below(rng, 0x800);

	return (data & MSI_MODE) == MSI_SMI ? data & ~MSI_MODE : data;
}

static struct kvm_irq_routing_entry routing_entry(struct rng *rng)
{
	struct kvm_irq_routing_entry entry = { .gsi = rng_below(rng, 26) };

	if (rng_one_in(rng, 3)) {
		entry.type = KVM_IRQ_ROUTING_MSI;
		entry.u.msi.address_lo = 0xfee00000 | rng_below(rng, 4) << 12;
		entry.u.msi.data = msi_data(rng);
		return entry;
	}

	entry.type = rng_one_in(rng, 16) ? rng_below(rng, 8) : KVM_IRQ_ROUTING_IRQCHIP;
	entry.u.irqchip.irqchip = rng_below(rng, 3);
	entry.u.irqchip.pin = rng_below(rng, entry.u.irqchip.irqchip == 2 ? 24 : 8);
	return entry;
}

static int set_routing(struct rng *rng)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entries[MAX_ENTRIES];
	} routing = { .head.nr = rng_below(rng, MAX_ENTRIES + 1) };
	struct ref vm;
	unsigned int i;
	int r;

	if (!pool_take(POOL_VM, rng, &vm))
		return OP_SKIP;

	for (i = 0; i < routing.head.nr; i++)
		routing.entries[i] = routing_entry(rng);
	r = checked_ioctl(vm.fd, KVM_SET_GSI_ROUTING, &routing);
	pool_release(&vm);
	return r;
}

/* Take memory away under the guest, protect it, or give it back. */
static int change_memory(struct rng *rng)
{
	char *data = homes[rng_below(rng, POOL_HOMES)].data + rng_below(rng, 16) * 0x1000;
	int protection = rng_below(rng, 4);
	void *got;

	if (rng_one_in(rng, 2))
		return munmap(data, 0x1000) ? -errno : 0;

	got = mmap(data, 0x1000, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	return got == MAP_FAILED ? -errno : 0;
}

static int create_event(struct rng *rng)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	if (fd < 0)
		return -errno;

	pool_put(POOL_EVENT, rng, fd, 0, NULL);
	return 0;
}

const struct op vm_ops[] = {
	{ "create VM", 1, create_vm, false },
	{ "create irqchip", 4, create_irqchip, true },
	{ "create vCPU", 8, create_vcpu, false },
	{ "run", 60, run, true },
	{ "set memory", 6, set_memory, true },
	{ "munmap, mmap memory", 3, change_memory, false },
	{ "get dirty log", 6, get_dirty_log, true },
	{ "ioeventfd", 6, ioeventfd, true },
	{ "irqfd", 6, irqfd, true },
	{ "irq line", 6, irq_line, true },
	{ "set gsi routing", 6, set_routing, true },
	{ "create eventfd", 3, create_event, true },
	{},
};
