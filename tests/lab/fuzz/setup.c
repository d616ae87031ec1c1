// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the fuzzer and the kill test do first: read their options, and mount a
 * bpffs that nobody else sees.
 */
#include <err.h>
#include <getopt.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <unistd.h>

#include "setup.h"

#define MAX_NUMBERS 4

const char *setup_options(int argc, char **argv, const char *usage, uint64_t *seed,
			  const struct number_option *numbers)
{
	struct option options[1 + MAX_NUMBERS + 1] = { { "seed", required_argument, NULL, 0 } };
	int i, found;

	for (i = 0; numbers[i].name && i < MAX_NUMBERS; i++)
		options[1 + i] = (struct option){ numbers[i].name, required_argument, NULL, 1 + i };

	if (getrandom(seed, sizeof(*seed), 0) != sizeof(*seed))
		err(2, "getrandom");
	while ((found = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (found == '?')
			exit(2);
		else if (found == 0)
			*seed = strtoull(optarg, NULL, 0);
		else
			*numbers[found - 1].value = strtoul(optarg, NULL, 0);
	}
	if (optind != argc - 1)
		errx(2, "usage: %s", usage);
	return argv[optind];
}

void setup_bpffs(char *folder)
{
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		err(2, "a mount namespace");
	if (!mkdtemp(folder) || mount("bpf", folder, "bpf", 0, NULL))
		err(2, "bpffs on %s", folder);
}

void setup_bpffs_end(const char *folder)
{
	umount2(folder, MNT_DETACH);
	rmdir(folder);
}
