# SPDX-License-Identifier: GPL-2.0-or-later
"""A BPF device's descriptor: where the device is, not what it does.

Source: Documentation/virt/kvm/devices/bpf.rst of the series.
"""

from __future__ import annotations

import ctypes
import errno
from typing import TypeVar

from kvmbpf.errors import KernelCallError
from kvmbpf.kernel.fd import OwnedFd
from kvmbpf.kernel.ioctl import ioctl_struct
from kvmbpf.kernel.uapi import kvm as uapi

Value = ctypes.Structure | ctypes.c_uint32 | ctypes.c_uint64
Filled = TypeVar("Filled", bound=Value)

# What the groups are called in messages.
_GROUPS = {
    uapi.KVM_DEV_BPF_REGION: "region",
    uapi.KVM_DEV_BPF_IRQ: "irq",
    uapi.KVM_DEV_BPF_LIMITS: "limits",
    uapi.KVM_DEV_BPF_INFO: "info",
    uapi.KVM_DEV_BPF_RESET: "reset",
    uapi.KVM_DEV_BPF_STATS: "stats",
    uapi.KVM_DEV_BPF_STATS_ENABLE: "stats enable",
    uapi.KVM_DEV_BPF_OPEN: "open",
}


class KvmDevice(OwnedFd):
    """Own a descriptor of a device of type KVM_DEV_TYPE_BPF."""

    def set_region(
        self, index: int, base: int, size: int, *, bus: int = uapi.KVM_BPF_BUS_MMIO
    ) -> None:
        """Say where a region is.

        :param index: the region's, from 0.
        :param base: guest physical address in bytes, or the first port.
        :param size: in bytes.
        :param bus: the bus that it is on (KVM_BPF_BUS_*).
        :raise KernelCallError: EEXIST when it is set or overlaps another one,
            EBUSY when a program is attached, EINVAL, ENXIO.
        """
        region = uapi.kvm_bpf_region(bus, 0, base, size)
        self._set(uapi.KVM_DEV_BPF_REGION, index, region)

    def region(self, index: int) -> uapi.kvm_bpf_region:
        """Return a region as it was set.

        :raise KernelCallError: ENOENT when it was not, ENXIO.
        """
        return self._get(uapi.KVM_DEV_BPF_REGION, index, uapi.kvm_bpf_region())

    def set_irq(self, index: int, gsi: int, *, level: bool = False) -> None:
        """Say which interrupt line a program's irq number means.

        :param index: the program's number for it, from 0.
        :param gsi: the line.
        :param level: level-triggered rather than edge-triggered.
        :raise KernelCallError: EAGAIN when the VM has no interrupt controller
            in the kernel, EEXIST, EBUSY, EINVAL, ENXIO.
        """
        irq = uapi.kvm_bpf_irq(gsi, uapi.KVM_BPF_IRQ_LEVEL if level else 0)
        self._set(uapi.KVM_DEV_BPF_IRQ, index, irq)

    def irq(self, index: int) -> uapi.kvm_bpf_irq:
        """Return an interrupt as it was set.

        :raise KernelCallError: ENOENT when it was not, ENXIO.
        """
        return self._get(uapi.KVM_DEV_BPF_IRQ, index, uapi.kvm_bpf_irq())

    def set_limits(self, *, max_faults: int = uapi.KVM_BPF_NO_LIMIT, max_run_ns: int = 0) -> None:
        """Say what the programs may cost before they are ejected.

        :param max_faults: how many faults are allowed (``__u32``);
            KVM_BPF_NO_LIMIT for any number.
        :param max_run_ns: each such time in ns that one callback takes is a
            fault; 0 does not time callbacks.
        :raise KernelCallError: ENXIO when the kernel's series has no limits.
        """
        limits = uapi.kvm_bpf_limits(max_faults, 0, max_run_ns)
        self._set(uapi.KVM_DEV_BPF_LIMITS, 0, limits)

    def limits(self) -> uapi.kvm_bpf_limits:
        """Return the limits that hold."""
        return self._get(uapi.KVM_DEV_BPF_LIMITS, 0, uapi.kvm_bpf_limits())

    def info(self) -> uapi.kvm_bpf_info:
        """Return what the device is, whether it works, and its last fault."""
        return self._get(uapi.KVM_DEV_BPF_INFO, 0, uapi.kvm_bpf_info())

    def reset(self) -> None:
        """Reset the device, as its guest is: lower its interrupts, run its ``reset``.

        :raise KernelCallError: ENODEV when no programs are attached or they were
            ejected, EOPNOTSUPP when they have no ``reset``, or what it returned.
        """
        self._set(uapi.KVM_DEV_BPF_RESET, 0, None)

    def enable_stats(self, on: bool) -> None:
        """Count and time accesses from now on, or stop that; what was counted stays."""
        self._set(uapi.KVM_DEV_BPF_STATS_ENABLE, 0, ctypes.c_uint32(on))

    def stats_enabled(self) -> bool:
        """Tell whether accesses are counted and timed."""
        return bool(self._get(uapi.KVM_DEV_BPF_STATS_ENABLE, 0, ctypes.c_uint32()).value)

    def stats(self, index: int) -> uapi.kvm_bpf_stats:
        """Return the counts of a region.

        :raise KernelCallError: ENOENT when the region is not set, ENXIO.
        """
        return self._get(uapi.KVM_DEV_BPF_STATS, index, uapi.kvm_bpf_stats())

    def open(self, device_id: int) -> None:
        """Stand for another device of the same VM, one that programs are attached to.

        So a later process gets at the device of one that has ended.

        :param device_id: its ``id`` of `info` (``__u64``).
        :raise KernelCallError: ENOENT when no such device is attached in this VM,
            EBUSY when this one has a region or an irq, or stands for another
            already, ENXIO when the kernel's series cannot do that.
        """
        self._set(uapi.KVM_DEV_BPF_OPEN, 0, ctypes.c_uint64(device_id))

    def has_attr(self, group: int, index: int) -> bool:
        """Tell whether an attribute exists (KVM_DEV_BPF_*, index)."""
        try:
            self._attr(uapi.KVM_HAS_DEVICE_ATTR, "has", group, index, None)
        except KernelCallError as error:
            if error.errno == errno.ENXIO:
                return False
            raise
        return True

    def _set(self, group: int, index: int, value: Value | None) -> None:
        self._attr(uapi.KVM_SET_DEVICE_ATTR, "set", group, index, value)

    def _get(self, group: int, index: int, value: Filled) -> Filled:
        """Have the kernel fill a value in, and return it."""
        self._attr(uapi.KVM_GET_DEVICE_ATTR, "get", group, index, value)
        return value

    def _attr(self, request: int, verb: str, group: int, index: int, value: Value | None) -> None:
        address = 0 if value is None else ctypes.addressof(value)
        name = _GROUPS.get(group, f"group {group}")
        ioctl_struct(
            self,
            request,
            uapi.kvm_device_attr(0, group, index, address),
            f"ioctl(KVM_{verb.upper()}_DEVICE_ATTR, {name} {index})",
        )
