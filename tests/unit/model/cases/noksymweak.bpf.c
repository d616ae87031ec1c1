/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <kvmbpf.bpf.h>
KVMBPF_DEVICE(noksymweak, .compatible = "acme,noksymweak", .regions = { KVMBPF_MMIO(0x1000) },
	      .irqs = 1);
extern int bpf_something(int) __attribute__((weak));
KVMBPF_READ(struct kvmbpf_access *acc)
{
	acc->value = bpf_something ? bpf_something(1) : 0;
	return 0;
}
KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	return 0;
}
