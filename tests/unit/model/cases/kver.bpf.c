/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <kvmbpf.bpf.h>
KVMBPF_DEVICE(kver, .compatible = "acme,kver", .regions = { KVMBPF_MMIO(0x1000) });
extern unsigned LINUX_KERNEL_VERSION __kconfig;
KVMBPF_READ(struct kvmbpf_access *acc)
{
	acc->value = LINUX_KERNEL_VERSION;
	return 0;
}
KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	return 0;
}
