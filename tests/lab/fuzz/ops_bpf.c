// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Operations on struct_ops maps and links: attach, replace, detach, pin, find.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <linux/bpf.h>
#include <bpf/libbpf.h>

#include "objects.h"
#include "ops.h"
#include "report.h"

#define NR_PINS 3 /* of each kind */

static struct object *any_object(struct rng *rng)
{
	return &objects[rng_below(rng, nr_objects)];
}

/* Mostly one that the kernel takes. */
static struct ops_value any_value(struct rng *rng, int device_fd)
{
	struct ops_value value = object_value(any_object(rng), device_fd);

	if (rng_one_in(rng, 4))
		value.reset = any_object(rng)->reset;
	if (rng_one_in(rng, 4))
		value.write = any_object(rng)->write;
	if (rng_one_in(rng, 8))
		value.read = 0;
	if (rng_one_in(rng, 32))
		value.write = value.read;
	if (rng_one_in(rng, 8))
		value.flags = rng_below(rng, 3);
	if (rng_one_in(rng, 16))
		value.device_fd = rng_odd(rng);
	return value;
}

static int create_map(struct rng *rng)
{
	struct ops_value value = any_value(rng, OPS_DEVICE_FD + rng_below(rng, OPS_DEVICE_FDS));
	int map = rng_one_in(rng, 8) ? ops_map_create() : ops_map_of(&value);

	if (map < 0) {
		check_errno("create struct_ops map", map, ERRNOS(EINVAL, EBADF));
		return map;
	}
	pool_put(POOL_MAP, rng, map, 0, NULL);
	return 0;
}

/* Set one that may be set already, with a byte of it that may be wrong. */
static int set_map(struct rng *rng)
{
	struct ops_value value = any_value(rng, 0);
	char buffer[ops_layout.size];
	struct ref map;
	int r;

	if (rng_one_in(rng, 2)) {
		map.fd = ops_map_create();
		if (map.fd < 0)
			return OP_SKIP;
	} else if (!pool_take(POOL_MAP, rng, &map)) {
		return OP_SKIP;
	}

	ops_value_layout(&value, buffer);
	if (rng_one_in(rng, 8))
		buffer[rng_below(rng, sizeof(buffer))] = rng_next(rng);
	r = ops_map_set(map.fd, buffer);
	check_errno("set struct_ops map", r, ERRNOS(EBUSY, EINVAL, EBADF));
	pool_release(&map);
	return r;
}

static int look_up_map(struct rng *rng)
{
	char buffer[ops_layout.size];
	union bpf_attr attr = {
		.key = (unsigned long)&(uint32_t){ 0 },
		.value = (unsigned long)buffer,
	};
	struct ref map;
	int r;

	if (!pool_take(POOL_MAP, rng, &map))
		return OP_SKIP;

	attr.map_fd = map.fd;
	r = sys_bpf(rng_one_in(rng, 4) ? BPF_MAP_DELETE_ELEM : BPF_MAP_LOOKUP_ELEM, &attr,
		    sizeof(attr));
	pool_release(&map);
	return r;
}

static void check_link_errno(int r)
{
	check_errno("attach", r, ERRNOS(EEXIST, ENOENT, EINVAL, EBADF, EBUSY, ENOSPC));
}

/* Attach to a device, by a map that was made for it. */
static int attach(struct rng *rng)
{
	struct ops_value value;
	struct ref device;
	int map, link;

	if (!pool_take(POOL_DEVICE, rng, &device))
		return OP_SKIP;

	value = any_value(rng, device.fd);
	map = ops_map_of(&value);
	if (map < 0) {
		pool_release(&device);
		return OP_SKIP;
	}

	link = ops_link_create(map);
	check_link_errno(link);
	pool_put(POOL_MAP, rng, map, 0, NULL);
	if (link >= 0)
		pool_put(POOL_LINK, rng, link, 0, NULL);
	pool_release(&device);
	return link;
}

/* Attach a map that is there: its descriptor may be anything by now. */
static int attach_again(struct rng *rng)
{
	struct ref map;
	int link;

	if (rng_one_in(rng, 2))
		create_map(rng);
	if (!pool_take(POOL_MAP, rng, &map))
		return OP_SKIP;

	link = ops_link_create(map.fd);
	check_link_errno(link);
	if (link >= 0)
		pool_put(POOL_LINK, rng, link, 0, NULL);
	pool_release(&map);
	return link;
}

static void check_update_errno(int r)
{
	check_errno("update", r, ERRNOS(EINVAL, ENOLINK, EPERM, EBUSY, EBADF, ENODEV));
}

static int update(struct rng *rng)
{
	struct ops_value value = any_value(rng, 0);
	int map = ops_map_of(&value);
	struct ref link;
	int r;

	if (map < 0)
		return OP_SKIP;

	if (!pool_take(POOL_LINK, rng, &link)) {
		close(map);
		return OP_SKIP;
	}

	r = ops_link_update(link.fd, map, -1);
	check_update_errno(r);
	pool_release(&link);
	pool_put(POOL_MAP, rng, map, 0, NULL);
	return r;
}

static int update_again(struct rng *rng)
{
	struct ref link, map, old;
	int r = OP_SKIP;

	if (!pool_take(POOL_LINK, rng, &link))
		return OP_SKIP;

	if (pool_take(POOL_MAP, rng, &map)) {
		if (!pool_take(POOL_MAP, rng, &old))
			old.fd = -1;
		r = ops_link_update(link.fd, map.fd, rng_one_in(rng, 2) ? old.fd : -1);
		check_update_errno(r);
		if (old.fd >= 0)
			pool_release(&old);
		pool_release(&map);
	}
	pool_release(&link);
	return r;
}

static int detach(struct rng *rng)
{
	struct ref link;
	int r;

	if (!pool_take(POOL_LINK, rng, &link))
		return OP_SKIP;

	r = ops_link_detach(link.fd);
	check_errno("detach", r, ERRNOS(0));
	pool_release(&link);
	return r;
}

static int get_link_info(struct rng *rng)
{
	struct bpf_link_info info = {};
	union bpf_attr attr = { .info = { .info_len = sizeof(info),
					  .info = (unsigned long)&info } };
	struct pollfd watched = { .events = POLLHUP };
	struct ref link;
	int r;

	if (!pool_take(POOL_LINK, rng, &link))
		return OP_SKIP;

	attr.info.bpf_fd = watched.fd = link.fd;
	r = sys_bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr));
	check_errno("link's info", r, ERRNOS(0));
	poll(&watched, 1, 0);
	pool_release(&link);
	return r;
}

/* Whatever link there is, one of a process that ends perhaps. */
static int find_link(struct rng *rng)
{
	union bpf_attr attr = {};
	uint32_t id = 0, steps = rng_below(rng, 8);
	int fd;

	do {
		if (bpf_next_id(BPF_LINK_GET_NEXT_ID, &id))
			break;
		attr.link_id = id;
	} while (steps--);

	fd = sys_bpf(BPF_LINK_GET_FD_BY_ID, &attr, sizeof(attr));
	check_errno("link by id", fd, ERRNOS(ENOENT, EAGAIN));
	if (fd >= 0)
		pool_put(POOL_LINK, rng, fd, 0, NULL);
	return fd;
}

/* Of its name one can tell what is pinned there. */
static enum pool_kind any_pin(struct rng *rng, char *path, size_t size)
{
	enum pool_kind kind = rng_one_in(rng, 4) ? POOL_MAP : POOL_LINK;

	snprintf(path, size, "%s/%u-%u", pin_folder, kind, (unsigned int)rng_below(rng, NR_PINS));
	return kind;
}

static int pin(struct rng *rng)
{
	struct ref ref;
	char path[256];
	int r;

	if (!pool_take(any_pin(rng, path, sizeof(path)), rng, &ref))
		return OP_SKIP;

	r = bpf_pin(ref.fd, path);
	check_errno("pin", r, ERRNOS(EEXIST));
	pool_release(&ref);
	return r;
}

static int get_pinned(struct rng *rng)
{
	enum pool_kind kind;
	char path[256];
	int fd;

	kind = any_pin(rng, path, sizeof(path));
	fd = bpf_get_pinned(path);
	check_errno("get pinned", fd, ERRNOS(ENOENT));
	if (fd >= 0)
		pool_put(kind, rng, fd, 0, NULL);
	return fd;
}

static int unpin(struct rng *rng)
{
	char path[256];

	any_pin(rng, path, sizeof(path));
	return unlink(path) ? -errno : 0;
}

/* Programs of its own: they are verified, and go with the last map that has them. */
static int load_object(struct rng *rng)
{
	struct object object = {};
	struct ops_value value;
	sigset_t tick, before;
	char path[256];
	int r;

	snprintf(path, sizeof(path), "%s/%s.bpf.o", object_folder, any_object(rng)->name);
	object.bpf = bpf_object__open_file(path, NULL);
	if (!object.bpf)
		return -errno;

	/* The verifier gives up at a signal, and takes longer than a tick on a slow kernel. */
	sigemptyset(&tick);
	sigaddset(&tick, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &tick, &before);
	r = object_load(&object);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!r) {
		value = object_value(&object, 0);
		r = ops_map_of(&value);
		if (r >= 0)
			pool_put(POOL_MAP, rng, r, 0, NULL);
	}
	object_close(&object);
	return r;
}

static void steer_irq(struct rng *rng, struct fuzz_steer *steer)
{
	steer->irq = rng_one_in(rng, 8) ? rng_odd(rng) : rng_below(rng, 4);
	steer->level = !rng_one_in(rng, 4);
	steer->vcpu = rng_one_in(rng, 8) ? rng_odd(rng) : rng_below(rng, 4);
	steer->delay_ns = rng_below(rng, 2000000);
	steer->choice = rng_one_in(rng, 2) ? ~0U : rng_next(rng);
}

static void steer_memory(struct rng *rng, struct fuzz_steer *steer)
{
	steer->gpa = rng_one_in(rng, 4) ? guest_place(rng) : rng_below(rng, 0x20000);
	if (rng_one_in(rng, 16))
		steer->gpa = rng_odd(rng);
	steer->len = rng_next(rng);
	steer->clamp_min = rng_below(rng, 1200);
	steer->clamp_max = rng_below(rng, 1200);
}

/* Tell the programs of an object what to do from now on. */
static int steer(struct rng *rng)
{
	static const int results[] = { 0, 0, 0, 0, 0, -95, -5, 1, -22, 2147483647 };
	struct fuzz_steer *steer = any_object(rng)->steer;

	steer->result = rng_pick(rng, results);
	steer->reset_result = rng_pick(rng, results);
	steer->answer = rng_next(rng);
	steer->spins = rng_one_in(rng, 8) ? rng_odd(rng) : rng_below(rng, 2000);
	steer_irq(rng, steer);
	steer_memory(rng, steer);
	return 0;
}

const struct op bpf_ops[] = {
	{ "create map", 8, create_map, true },
	{ "set map", 3, set_map, true },
	{ "look up map", 2, look_up_map, true },
	{ "attach", 24, attach, true },
	{ "attach again", 8, attach_again, true },
	{ "update", 16, update, true },
	{ "update again", 8, update_again, true },
	{ "detach", 2, detach, true },
	{ "get link info", 4, get_link_info, true },
	{ "find link", 3, find_link, true },
	{ "pin", 4, pin, true },
	{ "get pinned", 3, get_pinned, true },
	{ "unpin", 4, unpin, true },
	{ "load object", 1, load_object, false },
	{ "steer", 30, steer, true },
	{},
};
