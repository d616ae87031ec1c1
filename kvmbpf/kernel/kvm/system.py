# SPDX-License-Identifier: GPL-2.0-or-later
"""The KVM system: /dev/kvm."""

from __future__ import annotations

import os
from typing import Self

from kvmbpf.errors import KernelCallError
from kvmbpf.kernel.fd import OwnedFd
from kvmbpf.kernel.ioctl import ioctl_value
from kvmbpf.kernel.kvm.vm import Vm
from kvmbpf.kernel.uapi import kvm as uapi


class Kvm(OwnedFd):
    """Own a descriptor of /dev/kvm."""

    @classmethod
    def open(cls, path: str = "/dev/kvm") -> Self:
        """Open KVM.

        :raise KernelCallError: when the device is absent or not permitted.
        """
        try:
            return cls(os.open(path, os.O_RDWR | os.O_CLOEXEC), path)
        except OSError as error:
            raise KernelCallError(
                f"open({path})", error.errno or 0, "is KVM on, and may you use it?"
            ) from error

    def check_extension(self, capability: int) -> int:
        """Return what KVM says of a capability (KVM_CAP_*); 0 is no."""
        return ioctl_value(
            self, uapi.KVM_CHECK_EXTENSION, capability, f"ioctl(KVM_CHECK_EXTENSION, {capability})"
        )

    def vcpu_mmap_bytes(self) -> int:
        """Return the size in bytes of what a vCPU shares with its thread."""
        return ioctl_value(self, uapi.KVM_GET_VCPU_MMAP_SIZE, 0, "ioctl(KVM_GET_VCPU_MMAP_SIZE)")

    def create_vm(self) -> Vm:
        """Create a VM of the default type; the caller owns it."""
        return Vm(ioctl_value(self, uapi.KVM_CREATE_VM, 0, "ioctl(KVM_CREATE_VM)"), "VM")
