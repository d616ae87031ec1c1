/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The demo device's driver: what replies of COUNTER are checked for, and what
 * was seen in them.
 */
#ifndef KVMBPF_DEMO_SEEN_H
#define KVMBPF_DEMO_SEEN_H

#include <linux/types.h>

#include "kvmbpf_demo.h"

/* What was seen. Numbers are relative to the run's begin, so 1 is the first. */
struct demo_seen {
	u64 reads;
	u64 wrong; /* the checksum did not match: the rest is not looked at */
	u64 back; /* the generation, or the number, was below the last one */
	u64 mixed; /* another version in the same generation */
	u64 changes; /* of the generation */
	u64 number_sum;
	u64 square_sum;
	u32 last; /* and highest */
	u16 generation;
	u8 version;
	struct demo_histogram latency;
};

static inline u8 demo_version(u64 reply)
{
	return reply >> DEMO_REPLY_VERSION_SHIFT;
}

static inline u16 demo_generation(u64 reply)
{
	return reply >> DEMO_REPLY_GENERATION_SHIFT;
}

void demo_seen_begin(struct demo_seen *seen, u64 begin);
void demo_seen_reply(struct demo_seen *seen, u64 reply, u64 begin);
void demo_seen_merge(struct demo_seen *all, const struct demo_seen *seen);
u64 demo_seen_lost(const struct demo_seen *all);

#endif /* KVMBPF_DEMO_SEEN_H */
