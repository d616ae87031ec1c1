/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the fuzzer and the kill test do first: read their options, and mount a
 * bpffs that nobody else sees. What goes wrong ends the program with 2.
 */
#ifndef FUZZ_SETUP_H
#define FUZZ_SETUP_H

#include <stdint.h>

/* An option that is a number; the last of an array has no name. */
struct number_option {
	const char *name;
	unsigned int *value;
};

/*
 * Read --seed, which is random if it is not given, and the numbers; return the
 * operand. What follows "usage: " is said if there is not one.
 */
const char *setup_options(int argc, char **argv, const char *usage, uint64_t *seed,
			  const struct number_option *numbers);

/* Mount it in a mount namespace of this process; folder is a template of mkdtemp(). */
void setup_bpffs(char *folder);
void setup_bpffs_end(const char *folder);

#endif /* FUZZ_SETUP_H */
