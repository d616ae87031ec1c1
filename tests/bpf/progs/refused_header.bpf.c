// SPDX-License-Identifier: GPL-2.0-or-later
/* Refused: an index that nothing bounds, inlined from a file of the author's header. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 registers[4];

char LICENSE[] SEC("license") = "GPL";

#line 7 "kvmbpf/kvmbpf_calls.h"
static __always_inline __u64 from_the_header(__u64 index)
{
	return registers[index];
}

#line 20 "device.bpf.c"
SEC("syscall")
int reads(__u64 *ctx)
{
	__u64 index = ctx[0]; /* line 23 */

	return from_the_header(index);
}
