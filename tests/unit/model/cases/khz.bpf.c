/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <kvmbpf.bpf.h>
KVMBPF_DEVICE(khz, .compatible = "acme,khz", .regions = { KVMBPF_MMIO(0x1000) });
extern unsigned CONFIG_HZ __kconfig;
KVMBPF_READ(struct kvmbpf_access *acc)
{
	acc->value = CONFIG_HZ;
	return 0;
}
KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	return 0;
}
