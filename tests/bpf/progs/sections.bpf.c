// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Data sections of every kind. With STATIC all their variables are static, and libbpf
 * makes none of them mappable; that of a lock cannot be mapped in either case.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifdef STATIC
#define VARIABLE static
#else
#define VARIABLE
#endif

struct context {
	__u64 in;
	__u64 out;
};

char LICENSE[] SEC("license") = "GPL";

VARIABLE __u64 count;
VARIABLE __u32 last;
VARIABLE __u64 begun = 7;
VARIABLE __u64 apart SEC(".data.apart") = 5;
VARIABLE __u64 cleared SEC(".bss.apart");
VARIABLE const volatile __u64 limit = 9;
VARIABLE const volatile __u64 fixed SEC(".rodata.apart") = 4;

/* As kernel programs have it: what is the kernel's, and a number beside it. */
struct guarded {
	struct bpf_spin_lock lock;
	__u32 value;
};

static struct guarded guarded SEC(".data.guarded");

SEC("syscall")
int step(struct context *context)
{
	count += context->in;
	begun += limit;
	apart += fixed;
	cleared++;
	context->out = context->in ? count : last;
	if (context->in)
		last = context->in;
	bpf_spin_lock(&guarded.lock);
	guarded.value++;
	bpf_spin_unlock(&guarded.lock);
	return 0;
}
