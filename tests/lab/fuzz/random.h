/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random numbers that a seed repeats: each thread draws from a stream of its
 * own, derived from the seed and the thread's place, so that what one draws
 * does not depend on how the others are scheduled (splitmix64).
 */
#ifndef FUZZ_RANDOM_H
#define FUZZ_RANDOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rng {
	uint64_t state;
};

static inline uint64_t rng_mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return x ^ (x >> 31);
}

static inline uint64_t rng_next(struct rng *rng)
{
	rng->state += 0x9e3779b97f4a7c15;
	return rng_mix(rng->state);
}

static inline struct rng rng_stream(uint64_t seed, uint64_t place)
{
	return (struct rng){ .state = rng_mix(seed ^ rng_mix(place + 1)) };
}

/* Below n, which is not 0. */
static inline uint64_t rng_below(struct rng *rng, uint64_t n)
{
	return rng_next(rng) % n;
}

static inline bool rng_one_in(struct rng *rng, uint64_t n)
{
	return rng_below(rng, n) == 0;
}

#define rng_pick(rng, array) ((array)[rng_below(rng, sizeof(array) / sizeof(*(array)))])

/* Mostly small, often at a boundary, sometimes anything. */
static inline uint64_t rng_odd(struct rng *rng)
{
	static const uint64_t odd[] = {
		0,          1,          0x7f,       0xff,       0xfff,
		0x1000,     0xffff,     0x10000,    0x7fffffff, 0x80000000,
		0xffffffff, 1ULL << 32, 1ULL << 63, ~0ULL,      ~0ULL - 0xfff,
	};

	switch (rng_below(rng, 4)) {
	case 0:
		return rng_pick(rng, odd);
	case 1:
		return rng_next(rng);
	}

	return rng_below(rng, 40);
}

#endif /* FUZZ_RANDOM_H */
