# SPDX-License-Identifier: GPL-2.0-or-later
"""A virtual machine's descriptor.

Of a VM that another process made only `create_device` works, and that for BPF
devices only: KVM refuses the rest with EIO.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os

from kvmbpf.errors import KernelCallError, UnsupportedError
from kvmbpf.kernel.fd import OwnedFd
from kvmbpf.kernel.ioctl import ioctl_struct, ioctl_value
from kvmbpf.kernel.kvm.device import KvmDevice
from kvmbpf.kernel.kvm.vcpu import Vcpu
from kvmbpf.kernel.uapi import kvm as uapi
from kvmbpf.mends import OF_ANY_CALL


class Vm(OwnedFd):
    """Own a descriptor of a VM."""

    def create_irqchip(self) -> None:
        """Create the interrupt controllers in the kernel."""
        ioctl_value(self, uapi.KVM_CREATE_IRQCHIP, 0, "ioctl(KVM_CREATE_IRQCHIP)")

    def pic_state(self) -> uapi.kvm_pic_state:
        """Return the state of the first 8259: lines 0 to 7."""
        chip = uapi.kvm_irqchip(uapi.KVM_IRQCHIP_PIC_MASTER)
        ioctl_struct(self, uapi.KVM_GET_IRQCHIP, chip, "ioctl(KVM_GET_IRQCHIP, PIC)")
        state: uapi.kvm_pic_state = chip.chip.pic
        return state

    def set_memory(self, slot: int, gpa: int, address: int, size: int) -> None:
        """Give the guest memory.

        :param slot: the slot's number.
        :param gpa: where in the guest, in bytes, page-aligned.
        :param address: where in this process; it must stay mapped.
        :param size: in bytes, whole pages; 0 takes the slot away.
        """
        region = uapi.kvm_userspace_memory_region(slot, 0, gpa, size, address)
        ioctl_struct(
            self,
            uapi.KVM_SET_USER_MEMORY_REGION,
            region,
            f"ioctl(KVM_SET_USER_MEMORY_REGION, slot={slot})",
        )

    def create_vcpu(self, index: int, mmap_bytes: int) -> Vcpu:
        """Create a vCPU; the caller owns it.

        :param index: its id.
        :param mmap_bytes: `Kvm.vcpu_mmap_bytes()`.
        """
        fd = ioctl_value(self, uapi.KVM_CREATE_VCPU, index, f"ioctl(KVM_CREATE_VCPU, {index})")
        return Vcpu(fd, f"vCPU {index}", mmap_bytes)

    def ioeventfd(self, address: int, length: int, event: OwnedFd, *, pio: bool = False) -> None:
        """Have a guest's write to an address signal an eventfd.

        :param address: guest physical address in bytes, or the port.
        :param length: the write's width in bytes; 0 is any.
        :param pio: it is a port.
        """
        flags = uapi.KVM_IOEVENTFD_FLAG_PIO if pio else 0
        argument = uapi.kvm_ioeventfd(0, address, length, event.fileno(), flags)
        name = f"port {address:#x}" if pio else f"{address:#x}"
        ioctl_struct(self, uapi.KVM_IOEVENTFD, argument, f"ioctl(KVM_IOEVENTFD, {name})")

    def has_device_type(self, device_type: int) -> bool:
        """Tell whether KVM_CREATE_DEVICE would know a type (KVM_DEV_TYPE_*)."""
        try:
            self._create_device(device_type, uapi.KVM_CREATE_DEVICE_TEST)
        except KernelCallError:
            return False
        return True

    def create_bpf_device(self) -> KvmDevice:
        """Create a BPF device; the caller owns its descriptor.

        Works on the VM of another process too.

        :raise UnsupportedError: when the running kernel has no such device.
        :raise KernelCallError: EIO when KVM gave the VM up, or when the call fails otherwise.
        """
        try:
            self._create_device(uapi.KVM_DEV_TYPE_BPF, uapi.KVM_CREATE_DEVICE_TEST)
        except KernelCallError as error:
            # A kernel without the device also says EIO, of the VM of another process.
            if error.errno == errno.EIO and _kernel_has_bpf_devices():
                hint = "KVM gave this VM up after an error, it answers nothing any more: end it"
                raise KernelCallError(error.call, errno.EIO, hint) from error
            raise UnsupportedError(
                "KVM_DEV_TYPE_BPF",
                found="a kernel without it",
                needed="a kernel with the series of kernel_patches/",
                mend="boot such a kernel, or try `kvmbpf lab run -- COMMAND`",
            ) from error
        fd = self._create_device(uapi.KVM_DEV_TYPE_BPF, 0)
        if fd == 0:  # struct kvm_bpf_ops takes 0 for none
            fd = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
            os.close(0)
        return KvmDevice(fd, "BPF device")

    def _create_device(self, device_type: int, flags: int) -> int:
        argument = uapi.kvm_create_device(device_type, 0, flags)
        ioctl_struct(
            self,
            uapi.KVM_CREATE_DEVICE,
            argument,
            f"ioctl(KVM_CREATE_DEVICE, type={device_type})",
        )
        return ctypes.c_int(argument.fd).value


def _kernel_has_bpf_devices() -> bool:
    """Ask KVM itself, where a VM does not answer; no without /dev/kvm."""
    try:
        fd = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in OF_ANY_CALL:
            raise KernelCallError("open(/dev/kvm)", error.errno or 0) from error
        return False
    with OwnedFd(fd, "/dev/kvm") as kvm:
        call = "ioctl(KVM_CHECK_EXTENSION, KVM_CAP_BPF_DEVICE)"
        return ioctl_value(kvm, uapi.KVM_CHECK_EXTENSION, uapi.KVM_CAP_BPF_DEVICE, call) > 0
