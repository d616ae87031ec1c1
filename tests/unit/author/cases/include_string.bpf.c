/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>
#include <kvmbpf.bpf.h>
KVMBPF_DEVICE(include_string, .compatible = "acme,include_string",
	      .regions = { KVMBPF_MMIO(0x1000) }, .irqs = 1);
char b[64];
KVMBPF_READ(struct kvmbpf_access *acc)
{
	acc->value = 1;
	return 0;
}
KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	memset(b, 0, sizeof(b));
	return 0;
}
