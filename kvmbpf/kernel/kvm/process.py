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
from kvmbpf.kernel.fd import OwnedFd
from kvmbpf.kernel.kvm.device import KvmDevice
from kvmbpf.kernel.kvm.vm import Vm
from kvmbpf.kernel.rights import lacking

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
        raise KernelCallError(
            f"pidfd_getfd(fd={number})", code, _ptrace_hint() if code == errno.EPERM else ""
        )
    return int(fd)


def _ptrace_hint() -> str:
    lacks = "you lack CAP_SYS_PTRACE: " if lacking("CAP_SYS_PTRACE") else ""
    return f"{lacks}run it as root, or as the process's own user"


def _descriptors(pid: int, link: str) -> list[int]:
    """Return the numbers of a process's descriptors of one kind."""
    found = []
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if str(entry.readlink()) == link:
                    found.append(int(entry.name))
            except FileNotFoundError:
                continue  # closed while we looked
    except OSError as error:
        raise KernelCallError(
            f"list the descriptors of process {pid}",
            error.errno or 0,
            _ptrace_hint() if error.errno == errno.EACCES else "is it alive?",
        ) from error
    return sorted(found)


def _open_pidfd(pid: int) -> OwnedFd:
    try:
        return OwnedFd(os.pidfd_open(pid), f"pidfd of {pid}")
    except OSError as error:
        raise KernelCallError(f"pidfd_open({pid})", error.errno or 0) from error


def borrow_vm(pid: int, number: int | None = None) -> Vm:
    """Duplicate the VM descriptor of a VMM.

    :param pid: the VMM's process id.
    :param number: which of its descriptors (C ``int``), where it has several VMs.
    :return: the VM; the caller owns the duplicate. It keeps the VM alive, so
        close it soon.
    :raise StateError: when the process has no VM, or more than one and no number
        says which, or that number is no VM's.
    :raise KernelCallError: when the process is gone or not permitted.
    """
    with _open_pidfd(pid) as pidfd:
        chosen = _choose(pid, _descriptors(pid, _VM_LINK), number)
        return Vm(_pidfd_getfd(pidfd, chosen), f"VM of process {pid}")


def _choose(pid: int, numbers: list[int], number: int | None) -> int:
    if not numbers:
        raise StateError(
            f"process {pid} has no KVM virtual machine; name the VMM's own process, with KVM on"
        )
    listed = ", ".join(map(str, numbers))
    if number is not None:
        if number not in numbers:
            raise StateError(f"process {pid}: descriptor {number} is no VM; its VMs are {listed}")
        return number
    if len(numbers) > 1:
        raise StateError(
            f"process {pid} has {len(numbers)} virtual machines, descriptors {listed}: "
            "say which with --vm-fd"
        )
    return numbers[0]


def open_bpf_device(pid: int, device_id: int) -> KvmDevice:
    """Open a BPF device that is attached in a VM of a VMM.

    :param pid: the VMM's process id.
    :param device_id: of the device (C ``__u64``), as KVM_DEV_BPF_INFO has it.
    :return: another descriptor of the device, the caller's. It keeps the VM
        alive, so close it soon.
    :raise StateError: when the process has no VM, or none in which that device
        is attached.
    :raise KernelCallError: when the process is gone or not permitted; ENXIO when
        the kernel's series has no KVM_DEV_BPF_OPEN.
    """
    with _open_pidfd(pid) as pidfd:
        for number in _descriptors(pid, _VM_LINK):
            with Vm(_pidfd_getfd(pidfd, number), f"VM of process {pid}") as vm:
                device = vm.create_bpf_device()
            try:
                device.open(device_id)
            except BaseException as error:
                device.close()
                if isinstance(error, KernelCallError) and error.errno == errno.ENOENT:
                    continue  # it is in another one, or in none
                raise
            return device
    raise StateError(f"no VM of process {pid} has BPF device {device_id}")
