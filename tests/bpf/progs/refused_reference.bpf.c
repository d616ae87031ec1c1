// SPDX-License-Identifier: GPL-2.0-or-later
/* Refused: a task that one path keeps. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct task_struct {
	int pid;
} __attribute__((preserve_access_index));

extern struct task_struct *bpf_task_from_pid(__s32 pid) __ksym;
extern void bpf_task_release(struct task_struct *task) __ksym;

char LICENSE[] SEC("license") = "GPL";

SEC("syscall")
int keeps(__u64 *ctx)
{
	struct task_struct *task = bpf_task_from_pid(ctx[0]); /* acquired */

	if (!task)
		return 1;
	if (ctx[1] == 7)
		return 2;
	bpf_task_release(task);
	return 0;
} /* here */
