# SPDX-License-Identifier: GPL-2.0-or-later
"""A vCPU's descriptor, and the memory it shares with its thread.

Enough of a vCPU for bare-metal guests: registers, KVM_RUN, and the details of
an exit.
"""

from __future__ import annotations

import ctypes
import mmap

from kvmbpf.kernel.fd import OwnedFd
from kvmbpf.kernel.ioctl import ioctl_struct, ioctl_value
from kvmbpf.kernel.uapi import kvm as uapi


class Vcpu(OwnedFd):
    """Own a vCPU's descriptor and its mapping.

    :param fd: the descriptor; this object owns it from now on.
    :param mmap_bytes: `Kvm.vcpu_mmap_bytes()`.
    """

    def __init__(self, fd: int, name: str, mmap_bytes: int) -> None:
        super().__init__(fd, name)
        self._shared = mmap.mmap(fd, mmap_bytes)
        self._state = uapi.kvm_run.from_buffer(self._shared)

    def start_at(
        self, address: int, registers: dict[str, int] | None = None, *, data_base: int = 0
    ) -> None:
        """Have the vCPU start in real mode, with segments of 64 KiB.

        :param address: guest physical address of the first instruction, below
            64 KiB.
        :param registers: other registers by name, as ``{"rcx": 5}``.
        :param data_base: base of the data segment (DS), below 4 GiB.
        """
        sregs = uapi.kvm_sregs()
        ioctl_struct(self, uapi.KVM_GET_SREGS, sregs, "ioctl(KVM_GET_SREGS)")
        for name in ("cs", "ds", "es", "ss"):
            segment = getattr(sregs, name)
            segment.base = segment.selector = 0
        sregs.ds.base = data_base
        ioctl_struct(self, uapi.KVM_SET_SREGS, sregs, "ioctl(KVM_SET_SREGS)")
        # Bit 1 of RFLAGS is always set on x86.
        regs = uapi.kvm_regs(rip=address, rflags=2, **(registers or {}))
        ioctl_struct(self, uapi.KVM_SET_REGS, regs, "ioctl(KVM_SET_REGS)")

    def registers(self) -> uapi.kvm_regs:
        """Return the general registers."""
        regs = uapi.kvm_regs()
        ioctl_struct(self, uapi.KVM_GET_REGS, regs, "ioctl(KVM_GET_REGS)")
        return regs

    def run(self) -> int:
        """Run until an exit to user space; return its reason (KVM_EXIT_*).

        :raise KernelCallError: EINTR when a signal came, and others.
        """
        ioctl_value(self, uapi.KVM_RUN, 0, "ioctl(KVM_RUN)")
        return self.exit_reason()

    def tsc_khz(self) -> int:
        """Return how fast the guest's time stamp counter is, in ticks a ms.

        :raise KernelCallError: EIO where KVM cannot say.
        """
        return ioctl_value(self, uapi.KVM_GET_TSC_KHZ, 0, "ioctl(KVM_GET_TSC_KHZ)")

    def exit_reason(self) -> int:
        """Return the reason of the last exit (KVM_EXIT_*)."""
        return int(self._state.exit_reason)

    def shared_address(self) -> int:
        """Return where its ``struct kvm_run`` is in this process, until it is closed."""
        return ctypes.addressof(self._state)

    def io(self) -> uapi.kvm_run_io:
        """Return the access that made the last exit, if that was KVM_EXIT_IO."""
        return uapi.kvm_run_io.from_buffer_copy(self._state.io)

    def mmio(self) -> uapi.kvm_run_mmio:
        """Return the access that made the last exit, if that was KVM_EXIT_MMIO."""
        return uapi.kvm_run_mmio.from_buffer_copy(self._state.mmio)

    def answer_mmio(self, data: bytes) -> None:
        """Give the data of the read that made the last exit; `run` completes it.

        :param data: as many bytes as the access is wide.
        """
        ctypes.memmove(self._state.mmio.data, data, len(data))

    def close(self) -> None:
        """Close the vCPU and unmap what it shared."""
        if not self.closed:
            del self._state  # a view of the mapping
            self._shared.close()
        super().close()
