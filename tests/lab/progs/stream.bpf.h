/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A port whose every read gives a reply that tells whether one was lost before it, and
 * whether a whole version gave it. VERSION is 1 or 2, defined by the two objects that
 * include this file.
 *
 * A reply's bits: 15:0 how many this vCPU has got, from 1 on; 16 set by version 2; 23:17
 * how often the version that answers has changed; 31:24 the XOR of the other bytes and
 * 0x5a. tests/lab/stream_vmm.c looks at them.
 */
#include <kvmbpf.bpf.h>

KVMBPF_DEVICE(stream, .compatible = "kvmbpf,stream", .regions = { KVMBPF_PIO(4) });

#define VCPUS 16 /* a power of 2 */
#define SEED  0x5a

__u64 reads;
__u64 numbers[VCPUS];
__u32 answering;	/* the VERSION that answered last */
__u32 generation;	/* how often that has changed */

KVMBPF_READ(struct kvmbpf_access *acc)
{
	__u32 reply;

	if (answering != VERSION) {
		if (answering)
			generation++;
		answering = VERSION;
	}
	reads++;
	reply = ++numbers[acc->vcpu % VCPUS] & 0xffff;
	reply |= (VERSION - 1) << 16 | (generation & 0x7f) << 17;
	acc->value = reply | ((reply ^ reply >> 8 ^ reply >> 16 ^ SEED) & 0xff) << 24;
	return KVMBPF_ANSWERED;
}

KVMBPF_WRITE(struct kvmbpf_access *acc KVMBPF_UNUSED)
{
	return KVMBPF_DECLINE;
}
