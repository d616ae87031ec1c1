# SPDX-License-Identifier: GPL-2.0-or-later
"""A bare-metal guest that makes one access again and again.

Real mode, one page of memory, no interrupts. The data segment's base is where
memory accesses go, so that 16-bit code reaches any address below 4 GiB; port
accesses go to the port that DX names.
"""

from __future__ import annotations

import ctypes
import enum
import mmap

from kvmbpf.closing import Closing
from kvmbpf.errors import VmmError
from kvmbpf.kernel.kvm import Kvm, Vm
from kvmbpf.kernel.uapi import kvm as uapi

# The exit's reason when the loop is done, or an access to a port came out.
LOOP_DONE = uapi.KVM_EXIT_IO
# The port that the guest then writes to.
END_PORT = 0x80
# Nobody's in a VM that has no other devices: past the ranges of the ISA bus.
FREE_PORT = 0x600


class Access(enum.Enum):
    """What the guest does in a round of its loop: the loop's code.

    loop: [the access;] dec ecx; jnz loop; out 0x80, al

    The port is nobody's, so the last instruction comes out to user space; a
    HLT would not, with an interrupt controller in the kernel.
    """

    NONE = bytes.fromhex("66 49 75 fc e6 80")
    WRITE = bytes.fromhex("66 89 07 66 49 75 f9 e6 80")  # mov [bx], eax
    READ = bytes.fromhex("66 8b 07 66 49 75 f9 e6 80")  # mov eax, [bx]
    PIO_WRITE = bytes.fromhex("66 ef 66 49 75 fa e6 80")  # out dx, eax
    PIO_READ = bytes.fromhex("66 ed 66 49 75 fa e6 80")  # in eax, dx


class LoopGuest(Closing):
    """A VM with one vCPU that loops over an access.

    :param target: the guest physical address that it accesses, below 4 GiB.
    :param port: the port that it accesses.
    :param irqchip: give it interrupt controllers, in the kernel.
    """

    def __init__(self, target: int, *, port: int = FREE_PORT, irqchip: bool = False) -> None:
        self.target = target
        self.port = port
        with Kvm.open() as kvm:
            mmap_bytes = kvm.vcpu_mmap_bytes()
            self.vm: Vm = kvm.create_vm()
        if irqchip:
            self.vm.create_irqchip()
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self._pinned = (ctypes.c_char * mmap.PAGESIZE).from_buffer(self._memory)
        self.vm.set_memory(0, 0, ctypes.addressof(self._pinned), mmap.PAGESIZE)
        self.vcpu = self.vm.create_vcpu(0, mmap_bytes)

    def begin(self, access: Access, count: int, *, value: int = 1, offset: int = 0) -> None:
        """Have the vCPU start with accesses of 4 bytes when it is run next.

        :param access: which.
        :param count: how many, at least 1.
        :param value: what a write writes.
        :param offset: added to the target address and to the port.
        """
        self._memory[: len(access.value)] = access.value
        registers = {"rcx": count, "rax": value, "rdx": self.port + offset}
        self.vcpu.start_at(0, registers, data_base=self.target + offset)

    def loop(self, access: Access, count: int, *, value: int = 1, offset: int = 0) -> int:
        """Make accesses, and return what the last one left in EAX; see `begin`.

        :raise VmmError: when the guest ends other than by its OUT, as when an
            access comes out to user space.
        """
        self.begin(access, count, value=value, offset=offset)
        reason = self.vcpu.run()
        if reason != LOOP_DONE:
            raise VmmError(f"an access to {self.target:#x} left KVM with exit reason {reason}")
        port = self.vcpu.io().port
        if port != END_PORT:
            raise VmmError(f"an access to port {port:#x} left KVM")
        return int(self.vcpu.registers().rax) & 0xFFFFFFFF

    def close(self) -> None:
        """End the VM."""
        self.vcpu.close()
        self.vm.close()
