// SPDX-License-Identifier: GPL-2.0-only
/*
 * The demo device's driver: what replies of COUNTER are checked for.
 *
 * A thread checks what it can of every reply: the checksum, that numbers go up,
 * that generations do not go back, and that one generation is one version. What
 * only all threads together can tell is told at the end: the numbers that they
 * got, together, must be those of a sequence without a gap. For that the count of
 * replies is compared with the highest number, and the sums of the numbers and of
 * their squares with those of that sequence.
 *
 * A wrong reply is a number that nobody got, so it is a lost one as well.
 */

#include <linux/minmax.h>
#include <linux/types.h>

#include "demo_seen.h"

/**
 * demo_seen_begin - begin as if the reply before the first had been seen
 * @seen: all 0
 * @begin: that reply
 */
void demo_seen_begin(struct demo_seen *seen, u64 begin)
{
	seen->generation = demo_generation(begin);
	seen->version = demo_version(begin);
}

/**
 * demo_seen_reply - check a reply
 * @seen: what its thread has seen
 * @reply: what it read
 * @begin: the reply before the run's first
 */
void demo_seen_reply(struct demo_seen *seen, u64 reply, u64 begin)
{
	u16 generation = demo_generation(reply);
	u32 number = (u32)reply - (u32)begin;
	u8 version = demo_version(reply);

	seen->reads++;
	if (reply != demo_reply(version, generation, reply)) {
		seen->wrong++;
		return;
	}
	if (number <= seen->last || (s16)(generation - seen->generation) < 0)
		seen->back++;
	if (generation != seen->generation)
		seen->changes++;
	else if (version != seen->version)
		seen->mixed++;
	seen->last = number;
	seen->number_sum += number;
	seen->square_sum += (u64)number * number;
	seen->generation = generation;
	seen->version = version;
}

/**
 * demo_seen_merge - add what one thread saw to what all saw
 * @all: what all saw; @all->changes is not known before the last was merged
 * @seen: what the thread saw
 */
void demo_seen_merge(struct demo_seen *all, const struct demo_seen *seen)
{
	all->reads += seen->reads;
	all->wrong += seen->wrong;
	all->back += seen->back;
	all->mixed += seen->mixed;
	all->number_sum += seen->number_sum;
	all->square_sum += seen->square_sum;
	if ((s16)(seen->generation - all->generation) > 0) {
		all->generation = seen->generation;
		all->version = seen->version;
	}
	all->last = max(all->last, seen->last);
	demo_histogram_merge(&all->latency, &seen->latency);
}

/* 1 + 2 + ... + n, and the sum of their squares, modulo 2^64 as they are kept. */
static bool demo_sums_match(const struct demo_seen *all)
{
	u64 n = all->last;
	u64 sum = n % 2 ? (n + 1) / 2 * n : n / 2 * (n + 1);
	/* sum * (2n + 1) / 3, and one of the factors is a multiple of 3. */
	u64 squares = sum % 3 ? (2 * n + 1) / 3 * sum : sum / 3 * (2 * n + 1);

	return all->number_sum == sum && all->square_sum == squares;
}

/**
 * demo_seen_lost - count the numbers that nobody got
 * @all: what all threads saw
 *
 * Return: how many; 1 if it cannot be told how many.
 */
u64 demo_seen_lost(const struct demo_seen *all)
{
	u64 right = all->reads - all->wrong;

	if (right != all->last)
		return all->last > right ? all->last - right
					 : right - all->last;
	return demo_sums_match(all) ? 0 : 1;
}
