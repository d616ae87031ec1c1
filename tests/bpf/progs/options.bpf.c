// SPDX-License-Identifier: GPL-2.0-or-later
/* What libbpf takes from the kernel's configuration; OPTION and TYPE say what. */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

struct context {
	__u64 in;
	__u64 out;
};

char LICENSE[] SEC("license") = "GPL";

#ifdef WEAK
extern TYPE OPTION __kconfig __weak;
#else
extern TYPE OPTION __kconfig;
#endif

SEC("syscall")
int read_it(struct context *context)
{
	context->out = OPTION;
	return 0;
}
