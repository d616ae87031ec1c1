# SPDX-License-Identifier: GPL-2.0-or-later
"""The VM of another process: a duplicate of its descriptor.

A VMM holds its VM as a descriptor that /proc shows as ``anon_inode:kvm-vm``.
pidfd_getfd() duplicates it for whoever may ptrace the VMM; the VMM takes no
notice and need not be changed.

Source: pidfd_getfd(2), linux 5.6.
"""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

from kvmbpf.errors import KernelCallError, StateError
from kvmbpf.fd import OwnedFd
from kvmbpf.kvm.vm import Vm

# The same on all architectures (syscalls since 5.1 share their numbers).
_NR_PIDFD_GETFD = 438
_VM_LINK = "anon_inode:kvm-vm"

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _pidfd_getfd(pidfd: OwnedFd, number: int) -> int:
    fd = _libc.syscall(
        ctypes.c_long(_NR_PIDFD_GETFD),
        ctypes.c_int(pidfd.fileno()),
        ctypes.c_int(number),
        ctypes.c_uint(0),
    )
    if fd < 0:
        code = ctypes.get_errno()
        hint = "it takes CAP_SYS_PTRACE, or the VMM's own user" if code == errno.EPERM else ""
        raise KernelCallError(f"pidfd_getfd(fd={number})", code, hint)
    return int(fd)


def _vm_descriptors(pid: int) -> list[int]:
    """Return the numbers of the VM descriptors that a process holds."""
    found = []
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if str(entry.readlink()) == _VM_LINK:
                    found.append(int(entry.name))
            except FileNotFoundError:
                continue  # closed while we looked
    except OSError as error:
        raise KernelCallError(
            f"list the descriptors of process {pid}",
            error.errno or 0,
            "is it alive, and are you its user or root?",
        ) from error
    return sorted(found)


def borrow_vm(pid: int) -> Vm:
    """Duplicate the VM descriptor of a VMM.

    :param pid: the VMM's process id.
    :return: the VM; the caller owns the duplicate. It keeps the VM alive, so
        close it soon.
    :raise StateError: when the process has no VM, or more than one.
    :raise KernelCallError: when the process is gone or not permitted.
    """
    try:
        pidfd = OwnedFd(os.pidfd_open(pid), f"pidfd of {pid}")
    except OSError as error:
        raise KernelCallError(f"pidfd_open({pid})", error.errno or 0) from error
    with pidfd:
        numbers = _vm_descriptors(pid)
        if len(numbers) != 1:
            what = "no KVM virtual machine" if not numbers else f"{len(numbers)} virtual machines"
            raise StateError(f"process {pid} has {what}; name the VMM's own process, with KVM on")
        return Vm(_pidfd_getfd(pidfd, numbers[0]), f"VM of process {pid}")
