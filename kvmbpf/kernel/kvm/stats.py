# SPDX-License-Identifier: GPL-2.0-or-later
"""KVM's own counters of a VM, from debugfs.

The counters are the kernel's, summed over the VM's vCPUs; neither the VMM nor
a BPF program can change them.

Source: struct kvm_vcpu_stat in arch/x86/include/asm/kvm_host.h, linux 6.12.
"""

from __future__ import annotations

from pathlib import Path

from kvmbpf.errors import StateError, UnsupportedError

_DEBUGFS = Path("/sys/kernel/debug/kvm")


def vm_counter(pid: int, name: str) -> int:
    """Return one of KVM's counters of a VMM's only VM.

    :param pid: the VMM's process id.
    :param name: as in ``mmio_exits``: MMIO accesses that went to the VMM.
    :raise UnsupportedError: when debugfs is not mounted, or not permitted, or
        the kernel has no such counter.
    :raise StateError: when the process has no VM, or more than one.
    """
    try:
        folders = list(_DEBUGFS.glob(f"{pid}-*"))
    except OSError:
        folders = []
    if not folders and not _DEBUGFS.is_dir():
        raise UnsupportedError(
            str(_DEBUGFS),
            found="nothing there",
            needed="debugfs, and root",
            mend="mount -t debugfs debugfs /sys/kernel/debug",
        )
    if len(folders) != 1:
        raise StateError(f"KVM has {len(folders)} virtual machines of process {pid}, not 1")
    try:
        return int((folders[0] / name).read_text())
    except OSError as error:
        raise UnsupportedError(
            f"KVM's counter {name}",
            found=f"none in {folders[0]}",
            needed="a kernel that has it",
            mend="see the names in that folder",
        ) from error
