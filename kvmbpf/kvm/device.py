# SPDX-License-Identifier: GPL-2.0-or-later
"""A BPF device's descriptor: where the device is, not what it does.

Source: Documentation/virt/kvm/devices/bpf.rst of the series.
"""

from __future__ import annotations

import ctypes
import errno

from kvmbpf.errors import KernelCallError
from kvmbpf.fd import OwnedFd
from kvmbpf.ioctl import ioctl_struct
from kvmbpf.uapi import kvm as uapi


class KvmDevice(OwnedFd):
    """Own a descriptor of a device of type KVM_DEV_TYPE_BPF."""

    def set_region(self, index: int, gpa: int, size: int) -> None:
        """Say where a region is on the MMIO bus.

        :param index: the region's, from 0.
        :param gpa: guest physical address in bytes.
        :param size: in bytes.
        :raise KernelCallError: EEXIST when it is set or overlaps another one,
            EBUSY when a program is attached, EINVAL, ENXIO.
        """
        region = uapi.kvm_bpf_region(uapi.KVM_BPF_BUS_MMIO, 0, gpa, size)
        self._attr(uapi.KVM_SET_DEVICE_ATTR, "set", uapi.KVM_DEV_BPF_REGION, index, region)

    def region(self, index: int) -> uapi.kvm_bpf_region:
        """Return a region as it was set.

        :raise KernelCallError: ENOENT when it was not, ENXIO.
        """
        region = uapi.kvm_bpf_region()
        self._attr(uapi.KVM_GET_DEVICE_ATTR, "get", uapi.KVM_DEV_BPF_REGION, index, region)
        return region

    def set_irq(self, index: int, gsi: int, *, level: bool = False) -> None:
        """Say which interrupt line a program's irq number means.

        :param index: the program's number for it, from 0.
        :param gsi: the line.
        :param level: level-triggered rather than edge-triggered.
        :raise KernelCallError: EAGAIN when the VM has no interrupt controller
            in the kernel, EEXIST, EBUSY, EINVAL, ENXIO.
        """
        irq = uapi.kvm_bpf_irq(gsi, uapi.KVM_BPF_IRQ_LEVEL if level else 0)
        self._attr(uapi.KVM_SET_DEVICE_ATTR, "set", uapi.KVM_DEV_BPF_IRQ, index, irq)

    def irq(self, index: int) -> uapi.kvm_bpf_irq:
        """Return an interrupt as it was set.

        :raise KernelCallError: ENOENT when it was not, ENXIO.
        """
        irq = uapi.kvm_bpf_irq()
        self._attr(uapi.KVM_GET_DEVICE_ATTR, "get", uapi.KVM_DEV_BPF_IRQ, index, irq)
        return irq

    def has_attr(self, group: int, index: int) -> bool:
        """Tell whether an attribute exists (KVM_DEV_BPF_*, index)."""
        try:
            self._attr(uapi.KVM_HAS_DEVICE_ATTR, "has", group, index, None)
        except KernelCallError as error:
            if error.errno == errno.ENXIO:
                return False
            raise
        return True

    def _attr(
        self, request: int, verb: str, group: int, index: int, value: ctypes.Structure | None
    ) -> None:
        address = 0 if value is None else ctypes.addressof(value)
        name = {uapi.KVM_DEV_BPF_REGION: "region", uapi.KVM_DEV_BPF_IRQ: "irq"}.get(
            group, f"group {group}"
        )
        ioctl_struct(
            self,
            request,
            uapi.kvm_device_attr(0, group, index, address),
            f"ioctl(KVM_{verb.upper()}_DEVICE_ATTR, {name} {index})",
        )
