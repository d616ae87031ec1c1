// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Read records of the demo device's ring, and check each
 *
 *	ring_reader DEVICE COUNT [TIMEOUT_MS]
 *
 * Waits in poll() for /dev/kvmbpf-demoN to have records, up to TIMEOUT_MS each
 * time (10 s unless told), and reads until it has COUNT of them. Says what it
 * saw in one line. The exit status is 0 if there were so many, none lost and none
 * wrong; 1 if not, and 2 if the device cannot be used.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "demo_regs.h"

#define BATCH              16
#define DEFAULT_TIMEOUT_MS 10000

struct seen {
	unsigned long long records;
	unsigned long long lost; /* sequence numbers that were passed over */
	unsigned long long wrong; /* bad checksums */
	unsigned long long first; /* sequence numbers */
	unsigned long long last;
	unsigned int first_version;
	unsigned int last_version;
};

static void check(struct seen *seen, const struct demo_record *record)
{
	seen->records++;
	if (demo_checksum((const __u32 *)record, 7) != record->checksum) {
		seen->wrong++;
		return;
	}
	if (!seen->first) {
		seen->first = record->sequence;
		seen->first_version = record->version;
	} else {
		seen->lost += record->sequence - seen->last - 1;
	}
	seen->last = record->sequence;
	seen->last_version = record->version;
}

/* Wait for records and check what is there; return how many, or -1 for none. */
static int take(int fd, unsigned long long most, int timeout_ms, struct seen *seen)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	struct demo_record records[BATCH];
	ssize_t bytes;
	int i, count;

	if (poll(&wait, 1, timeout_ms) <= 0)
		return -1;
	bytes = read(fd, records, (most < BATCH ? most : BATCH) * sizeof(records[0]));
	if (bytes < 0) {
		fprintf(stderr, "ring_reader: read: %s\n", strerror(errno));
		return -1;
	}
	count = bytes / sizeof(records[0]);
	for (i = 0; i < count; i++)
		check(seen, &records[i]);
	return count;
}

int main(int argc, char **argv)
{
	struct seen seen = { 0 };
	unsigned long long count;
	int fd, timeout_ms;

	if (argc < 3) {
		fprintf(stderr, "usage: ring_reader DEVICE COUNT [TIMEOUT_MS]\n");
		return 2;
	}
	count = strtoull(argv[2], NULL, 0);
	timeout_ms = argc > 3 ? atoi(argv[3]) : DEFAULT_TIMEOUT_MS;
	fd = open(argv[1], O_RDONLY | O_NONBLOCK);
	if (fd < 0) {
		fprintf(stderr, "ring_reader: %s: %s\n", argv[1], strerror(errno));
		return 2;
	}
	while (seen.records < count && take(fd, count - seen.records, timeout_ms, &seen) > 0)
		;
	printf("records=%llu lost=%llu wrong=%llu first=%llu last=%llu", seen.records, seen.lost,
	       seen.wrong, seen.first, seen.last);
	printf(" first_version=%u last_version=%u\n", seen.first_version, seen.last_version);
	return seen.records == count && !seen.lost && !seen.wrong ? 0 : 1;
}
