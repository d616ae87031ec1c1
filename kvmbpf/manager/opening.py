# SPDX-License-Identifier: GPL-2.0-or-later
"""A descriptor of a device that an earlier process attached.

KVM tells of a device's faults, limits and statistics, and resets it, by a
descriptor of the device. The first one ends with the process that attached it;
KVM_DEV_BPF_OPEN gives another one, by the device's id, to whoever has the VM. That
takes the right to ptrace the VMM, as an attach does. Whoever lacks it still gets
from the kernel what that knows of the link, the programs and the maps.

A descriptor of a device keeps its VM alive: close it soon.
"""

from __future__ import annotations

import errno

from kvmbpf.errors import KernelCallError, StateError, UnsupportedError
from kvmbpf.kernel.kvm import KvmDevice, open_bpf_device
from kvmbpf.kernel.process import LivingProcess
from kvmbpf.manager.record import DeviceRecord
from kvmbpf.model.vm_name import shown


def open_device(record: DeviceRecord) -> KvmDevice:
    """Open an attached device; the caller owns the descriptor.

    :raise StateError: when it is not attached any more, or its VMM has gone.
    :raise UnsupportedError: when the running kernel gives no second descriptor.
    :raise KernelCallError: EPERM or EACCES without the right to ptrace the VMM.
    """
    try:
        return open_in(record)
    except KernelCallError as error:
        if error.errno in (errno.ESRCH, errno.ENOENT):
            raise StateError(f"VM {shown(record.vm)}: its process {record.pid} has gone") from error
        if error.errno == errno.ENXIO:
            raise UnsupportedError(
                "KVM_DEV_BPF_OPEN",
                found="a kernel whose BPF devices only their maker can ask",
                needed="one with all of the series of kernel_patches/",
                mend="boot such a kernel",
            ) from error
        raise


def open_in(record: DeviceRecord) -> KvmDevice:
    """Open an attached device in the process of its VMM, and in no other of its number.

    :raise StateError: when another process has the number now, or the device is in no
        VM of it.
    :raise KernelCallError: as `open_bpf_device` does.
    """
    with LivingProcess(record.pid, record.start_ticks):
        return open_bpf_device(record.pid, record.device_id)


def try_open(record: DeviceRecord) -> tuple[KvmDevice | None, str]:
    """Open an attached device, or return why that cannot be.

    :return: the descriptor, the caller's, or None; and the reason, or "".
    """
    try:
        return open_device(record), ""
    except (KernelCallError, StateError, UnsupportedError) as error:
        return None, str(error)
