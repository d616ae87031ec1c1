// SPDX-License-Identifier: GPL-2.0-only
/*
 * The demo device's driver: a histogram of any 64-bit values in little memory.
 */

#include <linux/bitops.h>
#include <linux/math64.h>
#include <linux/minmax.h>

#include "kvmbpf_demo.h"

static unsigned int demo_histogram_bucket(u64 value)
{
	unsigned int shift;

	if (value < 16)
		return value;
	shift = fls64(value) - 5;
	return 16 * shift + (value >> shift);
}

/**
 * demo_histogram_bucket_start - the least value that a bucket counts
 * @bucket: its index
 *
 * Return: the value.
 */
u64 demo_histogram_bucket_start(unsigned int bucket)
{
	unsigned int shift;

	if (bucket < 32)
		return bucket;
	shift = bucket / 16 - 1;
	return (u64)(bucket - 16 * shift) << shift;
}

/**
 * demo_histogram_add - count a value
 * @h: the histogram, all zero at first
 * @value: the value
 */
void demo_histogram_add(struct demo_histogram *h, u64 value)
{
	h->min = h->count ? min(h->min, value) : value;
	h->max = max(h->max, value);
	h->count++;
	h->buckets[demo_histogram_bucket(value)]++;
}

/**
 * demo_histogram_merge - add what another one counted
 * @h: the histogram that grows
 * @other: the other one
 */
void demo_histogram_merge(struct demo_histogram *h,
			  const struct demo_histogram *other)
{
	unsigned int i;

	if (!other->count)
		return;
	h->min = h->count ? min(h->min, other->min) : other->min;
	h->max = max(h->max, other->max);
	h->count += other->count;
	for (i = 0; i < DEMO_HISTOGRAM_BUCKETS; i++)
		h->buckets[i] += other->buckets[i];
}

/**
 * demo_histogram_quantile - the value that so many are not above
 * @h: the histogram
 * @per_mille: how many of a thousand
 *
 * Return: the last value of the bucket that it is in, so at most 1/16 too much,
 * and never more than the largest that was counted.
 */
u64 demo_histogram_quantile(const struct demo_histogram *h,
			    unsigned int per_mille)
{
	u64 left = mul_u64_u32_div(h->count, per_mille, 1000);
	unsigned int i;

	for (i = 0; i < DEMO_HISTOGRAM_BUCKETS - 1; i++) {
		if (h->buckets[i] > left)
			break;
		left -= h->buckets[i];
	}
	return min(h->max, demo_histogram_bucket_start(i + 1) - 1);
}
