/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmlinux.h"
#include <kvmbpf.bpf.h>
KVMBPF_DEVICE(include_vmlinux, .compatible = "acme,include_vmlinux",
	      .regions = { KVMBPF_MMIO(0x1000) }, .irqs = 1);

KVMBPF_READ(struct kvmbpf_access *acc)
{
	acc->value = 1;
	return 0;
}
KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	return 0;
}
