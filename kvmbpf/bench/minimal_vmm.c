// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The minimal VMM: the least that answers an access in user space
 *
 * Problem: an answer inside the kernel is worth what it saves over an exit to
 * user space. Timing that exit through an interpreter would flatter us.
 * Approach: the loop that every VMM has around KVM_RUN, and a device that is one
 * register of 4 bytes wherever the guest reads or writes: no memory map to
 * search, no locks, no event loop. A VMM cannot do less and still be one. The
 * caller makes the VM, so that the guest is the one that the other paths have,
 * and loads this file as a library: KVM takes a vCPU's calls from the process
 * that made its VM only.
 * Obsolete when: never.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>

#include <linux/kvm.h>

/* What kvmbpf/bench/minimal_vmm.py calls, and what it returns besides -errno. */
#define MINIMAL_VMM_DONE         0
#define MINIMAL_VMM_UNKNOWN_EXIT 1

int minimal_vmm_run(int vcpu_fd, struct kvm_run *run, uint16_t end_port, uint32_t *reg);

/* Answer accesses of 4 bytes with *reg until the guest writes to end_port. */
int minimal_vmm_run(int vcpu_fd, struct kvm_run *run, uint16_t end_port, uint32_t *reg)
{
	void *data;

	for (;;) {
		if (ioctl(vcpu_fd, KVM_RUN, 0) < 0)
			return -errno;
		switch (run->exit_reason) {
		case KVM_EXIT_MMIO:
			if (run->mmio.is_write)
				memcpy(reg, run->mmio.data, sizeof(*reg));
			else
				memcpy(run->mmio.data, reg, sizeof(*reg));
			break;
		case KVM_EXIT_IO:
			if (run->io.port == end_port)
				return MINIMAL_VMM_DONE;
			data = (char *)run + run->io.data_offset;
			if (run->io.direction == KVM_EXIT_IO_OUT)
				memcpy(reg, data, sizeof(*reg));
			else
				memcpy(data, reg, sizeof(*reg));
			break;
		default:
			return MINIMAL_VMM_UNKNOWN_EXIT;
		}
	}
}
