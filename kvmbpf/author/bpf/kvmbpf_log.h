/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvmbpf_log.h - text from a device to who listens
 *
 * Problem: a device's author wants to say what happens in it, in an exit that
 * is counted in nanoseconds.
 * Approach: kvmbpf_log() tests a flag, which is all while nobody listens. Who
 * listens sets it, and reads struct kvmbpf_log_record out of a ring buffer. The
 * flag and the formats lie in sections of their own, so that they are no part of
 * the author's state; the loader leaves out flag and ring of an object that logs
 * nothing.
 * Obsolete when: never.
 */
#ifndef KVMBPF_LOG_H
#define KVMBPF_LOG_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "kvmbpf_access.h"

#define KVMBPF_LOG_RING_BYTES (64 * 1024)

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, KVMBPF_LOG_RING_BYTES);
} kvmbpf_log_ring SEC(".maps");

/* How many listen, and how many records found no room since the load. */
volatile __u32 kvmbpf_log_listeners SEC(".data.kvmbpf_log");
volatile __u32 kvmbpf_log_lost SEC(".data.kvmbpf_log");

/*
 * kvmbpf_log(format, ...): say something, in any body, as printf would with up
 * to 12 arguments: %d %i %u %x with l or ll, %c, %p, %s, and before them the flags
 * 0, +, - and space, and a width; there is no # and no precision. What is longer
 * than 111 bytes is cut. A record that finds no room is lost, and counted.
 *
 *	KVMBPF_WRITE(struct kvmbpf_access *acc)
 *	{
 *		kvmbpf_log("vcpu %u wrote 0x%llx", acc->vcpu, acc->value);
 *		return 0;
 *	}
 */
#define kvmbpf_log(format, ...)							\
	do {									\
		if (0)								\
			kvmbpf_log_check(format, ##__VA_ARGS__);		\
		if (kvmbpf_log_listeners) {					\
			static const char kvmbpf_format[]			\
				SEC(".rodata.kvmbpf_log") = format;		\
			_Pragma("clang diagnostic push")			\
			_Pragma("clang diagnostic ignored \"-Wint-conversion\"") \
			unsigned long long kvmbpf_values[] = { __VA_ARGS__ };	\
			_Pragma("clang diagnostic pop")				\
										\
			_Static_assert(sizeof(kvmbpf_values) / 8 <= KVMBPF_LOG_ARGUMENTS, \
				       "kvmbpf_log() takes at most 12 arguments"); \
			kvmbpf_log_record(kvmbpf_format, kvmbpf_values,		\
					  sizeof(kvmbpf_values));		\
		}								\
	} while (0)

/* Private: the rest of it. The first is never called; the compiler checks the arguments by it. */
void kvmbpf_log_check(const char *format, ...) __attribute__((format(printf, 1, 2)));
static __always_inline void kvmbpf_log_record(const char *format, void *values, __u32 bytes)
{
	struct kvmbpf_log_record *record =
		bpf_ringbuf_reserve(&kvmbpf_log_ring, sizeof(*record), 0);
	long length;

	if (!record) {
		__sync_fetch_and_add((__u32 *)&kvmbpf_log_lost, 1);
		return;
	}

	record->time_ns = bpf_ktime_get_ns();
	record->reserved = 0;
	length = bpf_snprintf(record->text, sizeof(record->text), format,
			      bytes ? values : NULL, bytes);
	/* With the NUL, and as long as it would be with room for all of it. */
	if (length > KVMBPF_LOG_BYTES)
		length = KVMBPF_LOG_BYTES;
	if (length < 1) {
		record->text[0] = 0;
		length = 1;
	}
	record->length = length - 1;
	bpf_ringbuf_submit(record, 0);
}

#endif /* KVMBPF_LOG_H */
