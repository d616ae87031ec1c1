// SPDX-License-Identifier: GPL-2.0-or-later
/* Refused: a kernel function that no kernel has; with WEAK it is found out late. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifdef WEAK
extern int kvmbpf_no_such_function(int number) __ksym __weak;
#else
extern int kvmbpf_no_such_function(int number) __ksym;
#endif

char LICENSE[] SEC("license") = "GPL";

SEC("syscall")
int calls(__u64 *ctx)
{
	return kvmbpf_no_such_function(1); /* here */
}
