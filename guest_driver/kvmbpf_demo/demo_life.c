// SPDX-License-Identifier: GPL-2.0-only
/*
 * The demo device's driver: how long a bound device lives.
 *
 * Open files of the character device outlive the binding, so the device is
 * counted. When the binding ends, all who wait in a file of ours are let go.
 */

#include <linux/container_of.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "kvmbpf_demo.h"

static void demo_free(struct kref *refs)
{
	struct demo *demo = container_of(refs, struct demo, refs);

	demo_hammer_free(demo);
	kfree(demo);
}

void demo_get(struct demo *demo)
{
	kref_get(&demo->refs);
}

void demo_put(struct demo *demo)
{
	kref_put(&demo->refs, demo_free);
}

/**
 * demo_stop - let go whoever is in one of our files, and take no more records
 * @demo: the device; calling it twice is fine
 */
void demo_stop(struct demo *demo)
{
	mutex_lock(&demo->ring.lock);
	WRITE_ONCE(demo->stopping, true);
	mutex_unlock(&demo->ring.lock);
	wake_up_all(&demo->rung);
	wake_up_all(&demo->ring.readable);
}
