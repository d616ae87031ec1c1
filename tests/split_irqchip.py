# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM whose IO-APIC is its VMM's, as many VMMs that are no QEMU have it."""

from __future__ import annotations

import ctypes

from kvmbpf.kernel.ioctl import ioctl_struct
from kvmbpf.kernel.kvm import Vm

_CAP_SPLIT_IRQCHIP = 121
_PINS = 24


class KvmEnableCap(ctypes.Structure):
    """``struct kvm_enable_cap``."""

    _fields_ = (
        ("cap", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("args", ctypes.c_uint64 * 4),
        ("pad", ctypes.c_uint8 * 64),
    )


_KVM_ENABLE_CAP = 1 << 30 | ctypes.sizeof(KvmEnableCap) << 16 | 0xAEA3


def split_irqchip(vm: Vm) -> None:
    """Have KVM make the local APICs of a VM, and no more."""
    wanted = KvmEnableCap(cap=_CAP_SPLIT_IRQCHIP)
    wanted.args[0] = _PINS
    ioctl_struct(vm, _KVM_ENABLE_CAP, wanted, "ioctl(KVM_ENABLE_CAP, KVM_CAP_SPLIT_IRQCHIP)")
