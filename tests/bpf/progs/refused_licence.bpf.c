// SPDX-License-Identifier: GPL-2.0-or-later
/* Refused: a function for GPL programs, in one that does not say it is. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("syscall")
int reads(__u64 *ctx)
{
	__u64 buffer;

	return bpf_probe_read_kernel(&buffer, sizeof(buffer), (void *)*ctx); /* here */
}
