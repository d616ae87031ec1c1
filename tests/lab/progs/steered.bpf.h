/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A device that does what the test says, through its globals, and tells what
 * it saw. VERSION is defined by the two objects that include this file.
 */
#include <kvmbpf.bpf.h>

KVMBPF_DEVICE(steered, .compatible = "kvmbpf,steered",
	      .regions = { KVMBPF_MMIO(0x1000) }, .irqs = 2, .level_irqs = 2);

int result;		/* what the bodies return */
__u64 answer;		/* what a read gives */
__u64 calls;
__u64 seen_offset;
__u64 seen_value;
__u32 seen_len;
__u32 seen_region;
__u32 seen_vcpu;
__u32 version;		/* which object answered last */
__u32 irq;		/* a write sets this irq ... */
__u32 level;		/* ... to this level, if raise is set */
__u32 raise;
int irq_result;

static __always_inline int saw(const struct kvmbpf_access *acc)
{
	calls++;
	seen_offset = acc->offset;
	seen_value = acc->value;
	seen_len = acc->len;
	seen_region = acc->region;
	seen_vcpu = acc->vcpu;
	version = VERSION;
	return result;
}

KVMBPF_READ(struct kvmbpf_access *acc)
{
	int r = saw(acc);

	acc->value = answer;
	return r;
}

KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	if (raise)
		irq_result = kvmbpf_irq(acc, irq, level);
	return saw(acc);
}
