// SPDX-License-Identifier: GPL-2.0-or-later
/* A device named as the steered one, of another size: no version of it. */
#include <kvmbpf.bpf.h>

KVMBPF_DEVICE(steered, .compatible = "kvmbpf,steered", .regions = { KVMBPF_MMIO(0x2000) },
	      .irqs = 2, .level_irqs = 2);

KVMBPF_READ(struct kvmbpf_access *acc)
{
	acc->value = 1;
	return 0;
}

KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	return acc->len == 3 ? 0 : KVMBPF_DECLINE;
}
