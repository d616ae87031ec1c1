// SPDX-License-Identifier: GPL-2.0-or-later
/* Refused: a length that nothing bounds. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("syscall")
int copies(__u64 *ctx)
{
	char buffer[16];

	return bpf_copy_from_user(buffer, ctx[0], (void *)ctx[1]); /* here */
}
