// SPDX-License-Identifier: GPL-2.0-or-later
/* A device that answers with what libbpf finds out of the host's kernel: LINUX_KERNEL_VERSION. */
#include <kvmbpf.bpf.h>

KVMBPF_DEVICE(kernel_version, .compatible = "kvmbpf,kernel_version",
	      .regions = { KVMBPF_MMIO(0x1000) });

extern unsigned LINUX_KERNEL_VERSION __kconfig;

KVMBPF_READ(struct kvmbpf_access *acc)
{
	acc->value = LINUX_KERNEL_VERSION;
	return 0;
}

KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	return acc->len ? 0 : KVMBPF_DECLINE;
}
