# SPDX-License-Identifier: GPL-2.0-or-later
"""What is done to an attached device without replacing its programs: reset, limits.

Both go to KVM by a descriptor of the device (`kvmbpf.manager.opening`), and so take
the right to ptrace the VMM, as an attach does.
"""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable
from dataclasses import dataclass

from kvmbpf.errors import KernelCallError, StateError
from kvmbpf.kernel.kvm import KvmDevice
from kvmbpf.kernel.uapi import kvm as uapi
from kvmbpf.manager.devices import find_device, status
from kvmbpf.manager.limits import read_limits, set_limits
from kvmbpf.manager.opening import open_device
from kvmbpf.manager.record import DeviceRecord, Limits
from kvmbpf.manager.store import Store
from kvmbpf.model.vm_name import shown


@dataclass(frozen=True)
class DeviceLimits:
    """The limits of a device, and how near to them it is.

    :param record: the device.
    :param limits: that hold.
    :param faults: since its programs were attached or replaced.
    :param ejected: they went past the limits: all accesses are declined.
    """

    record: DeviceRecord
    limits: Limits
    faults: int
    ejected: bool


def reset(
    store: Store, device: str, *, vm: str | None = None, pid: int | None = None
) -> DeviceRecord:
    """Reset an attached device: lower its interrupts, run its reset program.

    :param vm: the VM's name; None where the device's is unique.
    :param pid: of its VMM, where VMs of one name have the device; None for any.
    :raise StateError: when it is not attached, has no reset program, or its
        programs were ejected.
    :raise KernelCallError: EPERM or EACCES without the right to ptrace the VMM;
        else what the reset program returned.
    """
    record = find_device(store, device, vm, pid).record
    with open_device(record) as opened:
        try:
            opened.reset()
        except KernelCallError as error:
            raise _reset_error(record, opened, error) from error
    return record


def _reset_error(
    record: DeviceRecord, opened: KvmDevice, error: KernelCallError
) -> StateError | KernelCallError:
    name = f"device {record.device} of VM {shown(record.vm)}"
    if error.errno == errno.EOPNOTSUPP:
        return StateError(
            f"{name} has no reset program, or one that returns -EOPNOTSUPP: "
            "write one with KVMBPF_RESET() and update the device"
        )
    if error.errno == errno.ENODEV:
        state = opened.info().state
        if state & uapi.KVM_BPF_STATE_EJECTED:
            return StateError(
                f"{name} cannot be reset, its programs were ejected: update the device first"
            )
        if not state & uapi.KVM_BPF_STATE_ATTACHED:
            return StateError(f"{name} is not attached any more")
    hint = f"that is what the reset program of {name} returned"
    return KernelCallError(error.call, error.errno or 0, hint)


def device_limits(
    store: Store, device: str, *, vm: str | None = None, pid: int | None = None
) -> DeviceLimits:
    """Return the limits of an attached device.

    :param vm: the VM's name; None where the device's is unique.
    :param pid: of its VMM, where VMs of one name have the device; None for any.
    :raise StateError: when it is not attached.
    :raise KernelCallError: EPERM or EACCES without the right to ptrace the VMM.
    """
    record = find_device(store, device, vm, pid).record
    with open_device(record) as opened:
        return _limits(record, opened)


def change_limits(
    store: Store,
    device: str,
    change: Callable[[Limits], Limits],
    *,
    vm: str | None = None,
    pid: int | None = None,
) -> DeviceLimits:
    """Change the limits of an attached device. Programs that were ejected stay so.

    :param change: is given the limits that hold, and returns those that are to.
    :param vm: the VM's name; None where the device's is unique.
    :param pid: of its VMM, where VMs of one name have the device; None for any.
    :return: the limits that hold now; the device's record has them too.
    :raise StateError: when it is not attached, or another manager is changing the VM.
    :raise KernelCallError: EPERM or EACCES without the right to ptrace the VMM.
    """
    store.sweep_all()
    home = store.find(device, vm, pid)
    with store.lock(home):
        store.sweep(home)
        record = status(store, home, device).record
        with open_device(record) as opened:
            set_limits(opened, change(read_limits(opened)))
            found = _limits(record, opened)
        record = dataclasses.replace(record, limits=found.limits)
        store.write(record)
        return dataclasses.replace(found, record=record)


def _limits(record: DeviceRecord, opened: KvmDevice) -> DeviceLimits:
    info = opened.info()
    ejected = bool(info.state & uapi.KVM_BPF_STATE_EJECTED)
    return DeviceLimits(record, read_limits(opened), info.faults, ejected)
