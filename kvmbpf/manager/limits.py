# SPDX-License-Identifier: GPL-2.0-or-later
"""The limits of a device: as the manager has them, and as KVM takes them."""

from __future__ import annotations

from kvmbpf.kernel.kvm import KvmDevice
from kvmbpf.kernel.uapi import kvm as uapi
from kvmbpf.manager.record import Limits


def read_limits(device: KvmDevice) -> Limits:
    """Return the limits that hold.

    :raise KernelCallError: ENXIO when the kernel's series has no limits.
    """
    found = device.limits()
    no_limit = found.max_faults == uapi.KVM_BPF_NO_LIMIT
    return Limits(None if no_limit else found.max_faults, found.max_run_ns or None)


def set_limits(device: KvmDevice, limits: Limits) -> None:
    """Set both limits.

    :raise KernelCallError: ENXIO when the kernel's series has no limits.
    """
    faults = uapi.KVM_BPF_NO_LIMIT if limits.max_faults is None else limits.max_faults
    device.set_limits(max_faults=faults, max_run_ns=limits.max_run_ns or 0)
