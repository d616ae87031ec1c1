// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The shared descriptors: one lock over all, held for a copy or a dup() only.
 */
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "pool.h"

struct slot {
	int fd;
	unsigned int generation;
	unsigned int home;
	struct device_model model;
};

/* Few VMs, so that what else there is meets in them. */
static const unsigned int nr_slots[POOL_KINDS] = {
	[POOL_VM] = 3,           [POOL_VCPU] = 6,          [POOL_DEVICE] = POOL_SLOTS,
	[POOL_MAP] = POOL_SLOTS, [POOL_LINK] = POOL_SLOTS, [POOL_EVENT] = 4,
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct slot slots[POOL_KINDS][POOL_SLOTS];

void pool_init(void)
{
	unsigned int kind, i;

	for (kind = 0; kind < POOL_KINDS; kind++)
		for (i = 0; i < POOL_SLOTS; i++)
			slots[kind][i].fd = -1;
}

/* Take a duplicate of one of a kind; tell whether there was one. */
bool pool_take(enum pool_kind kind, struct rng *rng, struct ref *ref)
{
	unsigned int i = rng_below(rng, nr_slots[kind]);
	unsigned int tries;
	struct slot *slot;

	ref->fd = -1;
	pthread_mutex_lock(&lock);
	for (tries = 0; tries < nr_slots[kind] && slots[kind][i].fd < 0; tries++)
		i = (i + 1) % nr_slots[kind];
	slot = &slots[kind][i];
	if (slot->fd >= 0) {
		ref->fd = fcntl(slot->fd, F_DUPFD_CLOEXEC, 3);
		ref->kind = kind;
		ref->slot = i;
		ref->generation = slot->generation;
		ref->home = slot->home;
		ref->model = slot->model;
	}
	pthread_mutex_unlock(&lock);
	return ref->fd >= 0;
}

bool pool_take_any(struct rng *rng, struct ref *ref)
{
	return pool_take(rng_below(rng, POOL_KINDS), rng, ref);
}

void pool_release(struct ref *ref)
{
	close(ref->fd);
}

/* Put a new one where another may have been, which is closed; takes fd over. */
void pool_put(enum pool_kind kind, struct rng *rng, int fd, unsigned int home,
	      const struct device_model *model)
{
	struct slot *slot = &slots[kind][rng_below(rng, nr_slots[kind])];
	int old;

	pthread_mutex_lock(&lock);
	old = slot->fd;
	slot->fd = fd;
	slot->generation++;
	slot->home = home;
	if (model)
		slot->model = *model;
	pthread_mutex_unlock(&lock);

	if (old >= 0)
		close(old);
}

/* Empty a slot, then close what was in it: others may be at it meanwhile. */
static bool drop(struct slot *slot)
{
	int old;

	pthread_mutex_lock(&lock);
	old = slot->fd;
	slot->fd = -1;
	slot->generation++;
	pthread_mutex_unlock(&lock);

	if (old < 0)
		return false;

	close(old);
	return true;
}

bool pool_drop(enum pool_kind kind, struct rng *rng)
{
	return drop(&slots[kind][rng_below(rng, nr_slots[kind])]);
}

/* Note an attribute that was set, if the slot still holds the same device. */
void pool_learn_region(const struct ref *ref, unsigned int index,
		       const struct kvm_bpf_region *region)
{
	struct slot *slot = &slots[POOL_DEVICE][ref->slot];

	pthread_mutex_lock(&lock);
	if (slot->generation == ref->generation) {
		slot->model.regions[index] = *region;
		slot->model.regions_set |= 1U << index;
	}
	pthread_mutex_unlock(&lock);
}

void pool_learn_irq(const struct ref *ref, unsigned int index, const struct kvm_bpf_irq *irq)
{
	struct slot *slot = &slots[POOL_DEVICE][ref->slot];

	pthread_mutex_lock(&lock);
	if (slot->generation == ref->generation) {
		slot->model.irqs[index] = *irq;
		slot->model.irqs_set |= 1U << index;
	}
	pthread_mutex_unlock(&lock);
}

/* Fork with the lock held, so that the child finds it in a state that it can use. */
pid_t pool_fork(void)
{
	pid_t pid;

	pthread_mutex_lock(&lock);
	pid = fork();
	pthread_mutex_unlock(&lock);
	return pid;
}

/* Close all, in random order. */
void pool_close_all(struct rng *rng)
{
	unsigned int kind, i, left = POOL_KINDS * POOL_SLOTS * 4;

	while (left--)
		pool_drop(rng_below(rng, POOL_KINDS), rng);
	for (kind = 0; kind < POOL_KINDS; kind++)
		for (i = 0; i < POOL_SLOTS; i++)
			drop(&slots[kind][i]);
}
