// SPDX-License-Identifier: GPL-2.0-or-later
/* The steered device with other state: an update to it is refused. */
#include <kvmbpf.bpf.h>

KVMBPF_DEVICE(steered, .compatible = "kvmbpf,steered", .regions = { KVMBPF_MMIO(0x1000) },
	      .irqs = 2, .level_irqs = 2);

__u32 calls; /* was __u64 */

KVMBPF_READ(struct kvmbpf_access *acc)
{
	acc->value = ++calls;
	return 0;
}

KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	calls += acc->value;
	return 0;
}
