// SPDX-License-Identifier: GPL-2.0-or-later
/* A struct_ops type that no kernel has. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct kvmbpf_absent_ops {
	int (*answer)(void);
};

SEC("struct_ops/answer")
int answer(void *ctx)
{
	return 0;
}

SEC(".struct_ops.link")
struct kvmbpf_absent_ops absent = { .answer = (void *)answer };
