// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Two programs, of which the verifier takes the first and refuses the second.
 *
 * With LONG_LOG the second walks many branches first, so that its log is long.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

__u64 table[4];

SEC("syscall")
int good(void *ctx)
{
	return 0;
}

SEC("syscall")
int out_of_bounds(__u64 *ctx)
{
	__u64 index = *ctx;

#ifdef LONG_LOG
	for (int i = 0; i < 20000; i++)
		table[0] += ctx[1] ^ i;
#endif
	return table[index];
}
