// SPDX-License-Identifier: GPL-2.0-or-later
/* Refused: a function that may sleep, in a program that must not. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("kprobe/kvmbpf_nothing")
int copies(void *ctx)
{
	char buffer[8];

	return bpf_copy_from_user(buffer, sizeof(buffer), (void *)0x1000); /* here */
}
