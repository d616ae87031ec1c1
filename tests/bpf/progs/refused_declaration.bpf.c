// SPDX-License-Identifier: GPL-2.0-or-later
/* Refused: a kernel function that is declared wrongly. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern int bpf_task_from_pid(__u64 one, __u64 two) __ksym;

char LICENSE[] SEC("license") = "GPL";

SEC("syscall")
int calls(__u64 *ctx)
{
	return bpf_task_from_pid(1, 2);
}
