// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Operations on a device's descriptor: create it, set and get its attributes.
 * The errors are those that the interface documents, and what was set once must
 * be read back.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <linux/kvm.h>

#include "ops.h"
#include "report.h"

#define BAD_POINTER 0x10

enum direction { SET, GET, HAS };

static const unsigned long requests[] = {
	[SET] = KVM_SET_DEVICE_ATTR,
	[GET] = KVM_GET_DEVICE_ATTR,
	[HAS] = KVM_HAS_DEVICE_ATTR,
};

/* How many attributes a group has. */
static unsigned int group_size(uint32_t group)
{
	switch (group) {
	case KVM_DEV_BPF_REGION:
	case KVM_DEV_BPF_STATS:
		return KVM_DEV_BPF_NR_REGIONS;
	case KVM_DEV_BPF_IRQ:
		return KVM_DEV_BPF_NR_IRQS;
	case KVM_DEV_BPF_LIMITS:
	case KVM_DEV_BPF_INFO:
	case KVM_DEV_BPF_RESET:
	case KVM_DEV_BPF_STATS_ENABLE:
	case KVM_DEV_BPF_OPEN:
		return 1;
	}

	return 0;
}

static const int *set_errnos(uint32_t group)
{
	static const int region[] = { EFAULT, EBUSY, EEXIST, EINVAL, -1 };
	static const int irq[] = { EFAULT, EBUSY, EEXIST, EINVAL, EAGAIN, -1 };
	static const int read_only[] = { EPERM, -1 };
	static const int open[] = { EFAULT, EBUSY, ENOENT, -1 };
	static const int other[] = { EFAULT, EINVAL, -1 };

	switch (group) {
	case KVM_DEV_BPF_REGION:
		return region;
	case KVM_DEV_BPF_IRQ:
		return irq;
	case KVM_DEV_BPF_INFO:
	case KVM_DEV_BPF_STATS:
		return read_only;
	case KVM_DEV_BPF_OPEN:
		return open;
	}

	return other;
}

static const int *get_errnos(uint32_t group)
{
	static const int maybe_absent[] = { EFAULT, ENOENT, -1 };
	static const int write_only[] = { EPERM, -1 };
	static const int other[] = { EFAULT, -1 };

	switch (group) {
	case KVM_DEV_BPF_REGION:
	case KVM_DEV_BPF_IRQ:
	case KVM_DEV_BPF_STATS:
		return maybe_absent;
	case KVM_DEV_BPF_RESET:
	case KVM_DEV_BPF_OPEN:
		return write_only;
	}

	return other;
}

static void check_attr(enum direction direction, const struct kvm_device_attr *attr, int r)
{
	static const char *const names[] = { "set", "get", "has" };
	const char *name = names[direction];

	if (attr->flags) {
		if (r != -EINVAL)
			report_violation("%s attribute with flags: %d", name, r);
	} else if (attr->attr >= group_size(attr->group)) {
		if (r != -ENXIO)
			report_violation("%s of absent attribute %u, %llu: %d", name, attr->group,
					 (unsigned long long)attr->attr, r);
	} else if (direction == HAS) {
		if (r)
			report_violation("has attribute of group %u: %d", attr->group, r);
	} else if (direction == GET) {
		check_errno("get attribute", r, get_errnos(attr->group));
	} else if (attr->group != KVM_DEV_BPF_RESET) {
		check_errno("set attribute", r, set_errnos(attr->group));
	}
}

static int attr_call(int fd, enum direction direction, uint32_t group, uint64_t index, void *data)
{
	struct kvm_device_attr attr = {
		.group = group,
		.attr = index,
		.addr = (unsigned long)data,
	};
	int r = checked_ioctl(fd, requests[direction], &attr);

	check_attr(direction, &attr, r);
	return r;
}

static void *maybe_bad(struct rng *rng, void *data)
{
	return rng_one_in(rng, 32) ? (void *)BAD_POINTER : data;
}

static struct kvm_bpf_region random_region(struct rng *rng)
{
	static const uint64_t sizes[] = { 1, 4, 8, 0x100, 0x1000, 0x2000 };
	struct kvm_bpf_region region = { .bus = rng_below(rng, 2), .size = rng_pick(rng, sizes) };

	region.base = region.bus == KVM_BPF_BUS_PIO ? guest_port(rng) : guest_place(rng);
	if (region.bus == KVM_BPF_BUS_PIO)
		region.size = 1 + rng_below(rng, 16);
	if (rng_one_in(rng, 16))
		region.size = rng_odd(rng);
	if (rng_one_in(rng, 16))
		region.base = rng_odd(rng);
	if (rng_one_in(rng, 32))
		region.bus = rng_odd(rng);
	if (rng_one_in(rng, 32))
		region.flags = rng_odd(rng);
	if (rng_one_in(rng, 32))
		region.pad[rng_below(rng, 2)] = rng_odd(rng);
	return region;
}

static struct kvm_bpf_irq random_irq(struct rng *rng)
{
	struct kvm_bpf_irq irq = { .gsi = rng_below(rng, 26), .flags = rng_below(rng, 2) };

	if (rng_one_in(rng, 16))
		irq.gsi = rng_odd(rng);
	if (rng_one_in(rng, 32))
		irq.flags = rng_odd(rng);
	if (rng_one_in(rng, 32))
		irq.pad = rng_odd(rng);
	return irq;
}

static struct kvm_bpf_limits random_limits(struct rng *rng)
{
	static const uint32_t faults[] = { 0, 1, 2, 10, 1000, KVM_BPF_NO_LIMIT };
	static const uint64_t times_ns[] = { 0, 0, 1, 1000, 100000, 100000000, ~0ULL };
	struct kvm_bpf_limits limits = {
		.max_faults = rng_pick(rng, faults),
		.max_run_ns = rng_pick(rng, times_ns),
	};

	if (rng_one_in(rng, 32))
		limits.flags = rng_odd(rng);
	if (rng_one_in(rng, 32))
		limits.pad[rng_below(rng, 2)] = rng_odd(rng);
	return limits;
}

/* What must come back as it was set; nobody else has the device yet. */
static void check_limits(struct rng *rng, int fd)
{
	struct kvm_bpf_limits limits = random_limits(rng), got;
	uint32_t on = rng_below(rng, 2), got_on;

	if (!attr_call(fd, SET, KVM_DEV_BPF_LIMITS, 0, &limits) &&
	    !attr_call(fd, GET, KVM_DEV_BPF_LIMITS, 0, &got) && memcmp(&limits, &got, sizeof(got)))
		report_violation("limits are not what was set: %u faults, %llu ns", got.max_faults,
				 (unsigned long long)got.max_run_ns);

	if (!attr_call(fd, SET, KVM_DEV_BPF_STATS_ENABLE, 0, &on) &&
	    !attr_call(fd, GET, KVM_DEV_BPF_STATS_ENABLE, 0, &got_on) && on != got_on)
		report_violation("statistics are not as they were set: %u", got_on);
}

static void place_device(struct rng *rng, int fd, struct device_model *model)
{
	unsigned int i, n = 1 + rng_below(rng, 3);

	for (i = 0; i < n; i++) {
		struct kvm_bpf_region region = random_region(rng);

		if (attr_call(fd, SET, KVM_DEV_BPF_REGION, i, &region))
			break;
		model->regions[i] = region;
		model->regions_set |= 1U << i;
		if (attr_call(fd, SET, KVM_DEV_BPF_REGION, i, &region) != -EEXIST)
			report_violation("a region was set twice");
	}

	for (i = 0; i < 4; i++) {
		struct kvm_bpf_irq irq = random_irq(rng);

		if (attr_call(fd, SET, KVM_DEV_BPF_IRQ, i, &irq))
			break;
		model->irqs[i] = irq;
		model->irqs_set |= 1U << i;
	}
}

static void set_up_device(struct rng *rng, int fd, struct device_model *model)
{
	struct kvm_bpf_info info = {};

	if (!attr_call(fd, GET, KVM_DEV_BPF_INFO, 0, &info))
		model->id = info.id;
	if (info.state || info.link_id || info.regions || info.irqs || info.faults)
		report_violation("a new device is not new: state %u, link %u", info.state,
				 info.link_id);
	if (rng_one_in(rng, 2))
		check_limits(rng, fd);
	if (!rng_one_in(rng, 16))
		place_device(rng, fd, model);
}

static int create_device(struct rng *rng)
{
	struct kvm_create_device request = { .type = KVM_DEV_TYPE_BPF };
	struct device_model model = {};
	struct ref vm;
	int r;

	if (!pool_take(POOL_VM, rng, &vm))
		return OP_SKIP;

	if (rng_one_in(rng, 32))
		request.flags = KVM_CREATE_DEVICE_TEST;
	r = checked_ioctl(vm.fd, KVM_CREATE_DEVICE, &request);
	check_errno("create device", r, ERRNOS(EINVAL));
	if (!r && !request.flags) {
		set_up_device(rng, request.fd, &model);
		dup2(request.fd, OPS_DEVICE_FD + rng_below(rng, OPS_DEVICE_FDS));
		pool_put(POOL_DEVICE, rng, request.fd, vm.home, &model);
	}
	pool_release(&vm);
	return r;
}

/* One more descriptor of a device that may be attached, may be of that VM. */
static int open_device(struct rng *rng)
{
	struct kvm_create_device request = { .type = KVM_DEV_TYPE_BPF };
	struct kvm_bpf_info info = {};
	struct ref vm, device;
	int r = OP_SKIP;

	if (!pool_take(POOL_VM, rng, &vm))
		return r;
	if (!pool_take(POOL_DEVICE, rng, &device))
		goto no_device;

	r = checked_ioctl(vm.fd, KVM_CREATE_DEVICE, &request);
	if (r)
		goto no_descriptor;

	if (rng_one_in(rng, 16))
		place_device(rng, request.fd, &(struct device_model){});
	r = attr_call(request.fd, SET, KVM_DEV_BPF_OPEN, 0, maybe_bad(rng, &device.model.id));
	if (r) {
		close(request.fd);
		goto no_descriptor;
	}

	if (!attr_call(request.fd, GET, KVM_DEV_BPF_INFO, 0, &info) && info.id != device.model.id)
		report_violation("opened device %llu, not %llu", (unsigned long long)info.id,
				 (unsigned long long)device.model.id);
	if (attr_call(request.fd, SET, KVM_DEV_BPF_OPEN, 0, &device.model.id) != -EBUSY)
		report_violation("a descriptor was opened twice");
	dup2(request.fd, OPS_DEVICE_FD + rng_below(rng, OPS_DEVICE_FDS));
	pool_put(POOL_DEVICE, rng, request.fd, vm.home, &device.model);
no_descriptor:
	pool_release(&device);
no_device:
	pool_release(&vm);
	return r;
}

static int set_region(struct rng *rng)
{
	unsigned int index = rng_below(rng, KVM_DEV_BPF_NR_REGIONS);
	struct kvm_bpf_region region = random_region(rng);
	struct ref device;
	int r;

	if (!pool_take(POOL_DEVICE, rng, &device))
		return OP_SKIP;

	r = attr_call(device.fd, SET, KVM_DEV_BPF_REGION, index, maybe_bad(rng, &region));
	if (!r)
		pool_learn_region(&device, index, &region);
	pool_release(&device);
	return r;
}

static int get_region(struct rng *rng)
{
	unsigned int index = rng_below(rng, KVM_DEV_BPF_NR_REGIONS);
	struct kvm_bpf_region region;
	struct ref device;
	int r;

	if (!pool_take(POOL_DEVICE, rng, &device))
		return OP_SKIP;

	r = attr_call(device.fd, GET, KVM_DEV_BPF_REGION, index, &region);
	if (device.model.regions_set >> index & 1 &&
	    (r || memcmp(&region, &device.model.regions[index], sizeof(region))))
		report_violation("region %u is not what was set: %d", index, r);
	pool_release(&device);
	return r;
}

static int set_irq(struct rng *rng)
{
	unsigned int index = rng_below(rng, KVM_DEV_BPF_NR_IRQS);
	struct kvm_bpf_irq irq = random_irq(rng);
	struct ref device;
	int r;

	if (!pool_take(POOL_DEVICE, rng, &device))
		return OP_SKIP;

	r = attr_call(device.fd, SET, KVM_DEV_BPF_IRQ, index, maybe_bad(rng, &irq));
	if (!r)
		pool_learn_irq(&device, index, &irq);
	pool_release(&device);
	return r;
}

static int get_irq(struct rng *rng)
{
	unsigned int index = rng_below(rng, rng_one_in(rng, 2) ? 4 : KVM_DEV_BPF_NR_IRQS);
	struct kvm_bpf_irq irq;
	struct ref device;
	int r;

	if (!pool_take(POOL_DEVICE, rng, &device))
		return OP_SKIP;

	r = attr_call(device.fd, GET, KVM_DEV_BPF_IRQ, index, &irq);
	if (device.model.irqs_set >> index & 1 &&
	    (r || memcmp(&irq, &device.model.irqs[index], sizeof(irq))))
		report_violation("irq %u is not what was set: %d", index, r);
	pool_release(&device);
	return r;
}

static int set_limits(struct rng *rng)
{
	struct kvm_bpf_limits limits = random_limits(rng);
	struct ref device;
	int r;

	if (!pool_take(POOL_DEVICE, rng, &device))
		return OP_SKIP;

	r = attr_call(device.fd, SET, KVM_DEV_BPF_LIMITS, 0, maybe_bad(rng, &limits));
	pool_release(&device);
	return r;
}

static int get_limits(struct rng *rng)
{
	struct kvm_bpf_limits limits;
	struct ref device;
	int r;

	if (!pool_take(POOL_DEVICE, rng, &device))
		return OP_SKIP;

	r = attr_call(device.fd, GET, KVM_DEV_BPF_LIMITS, 0, maybe_bad(rng, &limits));
	pool_release(&device);
	return r;
}

static void note_info(const struct kvm_bpf_info *info)
{
	if (info->state & KVM_BPF_STATE_EJECTED)
		report_event(EVENT_EJECTED);
	if (info->last_fault.reason == KVM_BPF_FAULT_ERROR)
		report_event(EVENT_FAULT);
	if (info->last_fault.reason == KVM_BPF_FAULT_SLOW)
		report_event(EVENT_SLOW_FAULT);
	if (info->asserted)
		report_event(EVENT_ASSERTED);
	if (info->replaced)
		report_event(EVENT_REPLACED);
}

static void check_info(const struct kvm_bpf_info *info, const struct device_model *model)
{
	static const struct kvm_bpf_info zero;

	if (model->id && info->id != model->id)
		report_violation("device %llu says it is %llu", (unsigned long long)model->id,
				 (unsigned long long)info->id);
	if (info->reserved || memcmp(info->pad, zero.pad, sizeof(zero.pad)))
		report_violation("info has something where nothing is defined");
	if (info->state & ~(KVM_BPF_STATE_ATTACHED | KVM_BPF_STATE_EJECTED) ||
	    info->state == KVM_BPF_STATE_EJECTED)
		report_violation("info has the state %#x", info->state);
	if (model->regions_set & ~info->regions || model->irqs_set & ~info->irqs)
		report_violation("info lacks a region or irq: %#x, %#x", info->regions, info->irqs);
	if (info->asserted & ~info->irqs)
		report_violation("info asserts irqs that are not set: %#x", info->asserted);
	if (info->last_fault.reason > KVM_BPF_FAULT_SLOW ||
	    info->last_fault.flags & ~KVM_BPF_FAULT_WRITE ||
	    info->last_fault.region >= KVM_DEV_BPF_NR_REGIONS || info->last_fault.len > 8)
		report_violation("info has a fault that cannot be");
}

static int get_info(struct rng *rng)
{
	struct kvm_bpf_info info;
	struct ref device;
	int r;

	if (!pool_take(POOL_DEVICE, rng, &device))
		return OP_SKIP;

	r = attr_call(device.fd, GET, KVM_DEV_BPF_INFO, 0, &info);
	if (!r) {
		check_info(&info, &device.model);
		note_info(&info);
	}
	pool_release(&device);
	return r;
}

static int get_stats(struct rng *rng)
{
	unsigned int index = rng_below(rng, rng_one_in(rng, 4) ? KVM_DEV_BPF_NR_REGIONS : 2);
	struct kvm_bpf_stats stats;
	struct ref device;
	int r;

	if (!pool_take(POOL_DEVICE, rng, &device))
		return OP_SKIP;

	r = attr_call(device.fd, GET, KVM_DEV_BPF_STATS, index, &stats);
	if (!r && (stats.reads || stats.writes))
		report_event(EVENT_ANSWERED);
	if (!r && stats.declines)
		report_event(EVENT_DECLINED);
	if (!r && (stats.pad[0] || stats.pad[1]))
		report_violation("statistics have something where nothing is defined");
	pool_release(&device);
	return r;
}

static int enable_stats(struct rng *rng)
{
	uint32_t on = rng_one_in(rng, 32) ? rng_odd(rng) : rng_below(rng, 2);
	struct ref device;
	int r;

	if (!pool_take(POOL_DEVICE, rng, &device))
		return OP_SKIP;

	r = attr_call(device.fd, SET, KVM_DEV_BPF_STATS_ENABLE, 0, maybe_bad(rng, &on));
	if (!r && on > 1)
		report_violation("statistics were set to %u", on);
	pool_release(&device);
	return r;
}

/* Its error may be any that the program returned. */
static int reset(struct rng *rng)
{
	struct ref device;
	int r;

	if (!pool_take(POOL_DEVICE, rng, &device))
		return OP_SKIP;

	r = attr_call(device.fd, SET, KVM_DEV_BPF_RESET, 0,
		      rng_one_in(rng, 16) ? (void *)BAD_POINTER : NULL);
	pool_release(&device);
	return r < -EHWPOISON ? -EPROTO : r;
}

/* Any attribute, there or not, in any direction, with a pointer to anything. */
static int any_attr(struct rng *rng)
{
	enum direction direction = rng_below(rng, 3);
	char buffer[256] = {};
	struct kvm_device_attr attr = {
		.group = rng_one_in(rng, 4) ? rng_odd(rng) : rng_below(rng, 10),
		.attr = rng_one_in(rng, 4) ? rng_odd(rng) : 0,
		.flags = rng_one_in(rng, 8) ? rng_odd(rng) : 0,
		.addr = rng_one_in(rng, 4) ? rng_odd(rng) : (unsigned long)buffer,
	};
	struct ref device;
	int r;

	/* What it would set is not noted, and must not be read as something else. */
	if (direction == SET && (attr.group == KVM_DEV_BPF_REGION || attr.group == KVM_DEV_BPF_IRQ))
		attr.addr = BAD_POINTER;
	if (!pool_take(POOL_DEVICE, rng, &device))
		return OP_SKIP;

	r = checked_ioctl(device.fd, requests[direction], &attr);
	check_attr(direction, &attr, r);
	pool_release(&device);
	return r < -EHWPOISON ? -EPROTO : r;
}

const struct op device_ops[] = {
	{ "create device", 8, create_device, true },
	{ "open device", 10, open_device, true },
	{ "set region", 6, set_region, true },
	{ "get region", 6, get_region, true },
	{ "set irq", 6, set_irq, true },
	{ "get irq", 6, get_irq, true },
	{ "set limits", 6, set_limits, true },
	{ "get limits", 4, get_limits, true },
	{ "get info", 10, get_info, true },
	{ "get statistics", 10, get_stats, true },
	{ "enable statistics", 6, enable_stats, true },
	{ "reset", 10, reset, true },
	{ "any attribute", 10, any_attr, true },
	{},
};
