/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <kvmbpf.bpf.h>
KVMBPF_DEVICE(sdiv, .compatible = "acme,sdiv", .regions = { KVMBPF_MMIO(0x1000) }, .irqs = 1);
int a, b = 3;
KVMBPF_READ(struct kvmbpf_access *acc)
{
	acc->value = a / b;
	return 0;
}
KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	return 0;
}
