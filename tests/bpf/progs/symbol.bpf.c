// SPDX-License-Identifier: GPL-2.0-or-later
/* The address of a symbol that no kernel has, for libbpf to look up in /proc/kallsyms. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct context {
	__u64 in;
	__u64 out;
};

char LICENSE[] SEC("license") = "GPL";

#ifdef WEAK
extern const void kvmbpf_no_such_symbol __ksym __weak;
#else
extern const void kvmbpf_no_such_symbol __ksym;
#endif

SEC("syscall")
int read_it(struct context *context)
{
	context->out = (__u64)&kvmbpf_no_such_symbol;
	return 0;
}
