# SPDX-License-Identifier: GPL-2.0-or-later
"""A bare-metal guest that makes one access of any width at a time.

Its page of memory begins with a few instructions that are written anew for each
access: load the value, access, store the value. What follows stays where it is:
tell the VMM by a write to a port, start over. So a step is one KVM_RUN, but for
what the access itself brings out to user space.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from dataclasses import dataclass

from kvmbpf.bench.loop_guest import END_PORT, FREE_PORT
from kvmbpf.closing import Closing
from kvmbpf.kernel.ioctl import ioctl_struct
from kvmbpf.kernel.kvm import Kvm, Vm
from kvmbpf.kernel.uapi import kvm as uapi

_VALUE = 0x800  # where the guest keeps the value, in its memory
_END = 0x40  # where a step ends: out 0x80, al; jmp 0
_END_CODE = bytes.fromhex("e6 80 eb bc")
_KVM_SET_IRQCHIP = 2 << 30 | ctypes.sizeof(uapi.kvm_irqchip) << 16 | 0xAE63

# How the access itself is encoded, in 16-bit code: [bx] is the target, dx the port.
_MOVES = {
    (False, 1): "8a 07",  # mov al, [bx]
    (False, 2): "8b 07",
    (False, 4): "66 8b 07",
    (False, 8): "0f 6f 07",  # movq mm0, [bx]
    (True, 1): "88 07",
    (True, 2): "89 07",
    (True, 4): "66 89 07",
    (True, 8): "0f 7f 07",
}
_PORTS = {
    (False, 1): "ec",  # in al, dx
    (False, 2): "ed",
    (False, 4): "66 ed",
    (True, 1): "ee",
    (True, 2): "ef",
    (True, 4): "66 ef",
}


@dataclass(frozen=True)
class Step:
    """One access.

    :param offset: from the target address, or from the port.
    :param width: 1, 2, 4 or 8 bytes; 8 not on ports.
    :param value: what a write writes; None reads.
    :param pio: it is to a port.
    """

    offset: int
    width: int
    value: int | None = None
    pio: bool = False

    @property
    def is_write(self) -> bool:
        """Whether it writes."""
        return self.value is not None

    def code(self) -> bytes:
        """Return the instructions of a step, up to the jump to its end."""
        moves = _PORTS if self.pio else _MOVES
        if self.width == 8:
            load, store = "2e 0f 6f 06 00 08", "2e 0f 7f 06 00 08"  # movq mm0, cs:[0x800]
        else:
            load, store = "66 2e a1 00 08", "66 2e a3 00 08"  # mov eax, cs:[0x800]
        code = b"\xbb" + self.offset.to_bytes(2, "little")  # mov bx, offset
        code += b"\xba" + (FREE_PORT + self.offset).to_bytes(2, "little")  # mov dx, port
        code += bytes.fromhex(f"{load} {moves[self.is_write, self.width]} {store}")
        return code + bytes((0xEB, _END - len(code) - 2))  # jmp


@dataclass(frozen=True)
class Outcome:
    """What became of a step.

    :param value: what a read gave; of a write, what was written.
    :param exits: what came out to user space: offset, data of a write or None.
    """

    value: int
    exits: tuple[tuple[int, bytes | None], ...]


Answer = Callable[[int, int], bytes]


class StepGuest(Closing):
    """A VM with one vCPU and interrupt controllers, that steps.

    :param target: the guest physical address of accesses to memory, below 4 GiB.
    :param answer: gives the VMM's answer to a read: (offset, length) -> data.
    """

    def __init__(self, target: int, answer: Answer) -> None:
        self._target = target
        self._answer = answer
        with Kvm.open() as kvm:
            mmap_bytes = kvm.vcpu_mmap_bytes()
            self.vm: Vm = kvm.create_vm()
        self.vm.create_irqchip()
        self.memory = mmap.mmap(-1, mmap.PAGESIZE)
        self._pinned = (ctypes.c_char * mmap.PAGESIZE).from_buffer(self.memory)
        self.vm.set_memory(0, 0, ctypes.addressof(self._pinned), mmap.PAGESIZE)
        self.vcpu = self.vm.create_vcpu(0, mmap_bytes)
        self.memory[_END : _END + len(_END_CODE)] = _END_CODE
        self.vcpu.start_at(0, data_base=target)

    def step(self, step: Step) -> Outcome:
        """Make an access, as VMM answer what comes out, and return what became of it."""
        code = step.code()
        self.memory[: len(code)] = code
        self.memory[_VALUE : _VALUE + 8] = (step.value or 0).to_bytes(8, "little")
        exits: list[tuple[int, bytes | None]] = []
        while not self._ran_to_the_end(exits):
            continue
        value = int.from_bytes(self.memory[_VALUE : _VALUE + step.width], "little")
        return Outcome(value, tuple(exits))

    def _ran_to_the_end(self, exits: list[tuple[int, bytes | None]]) -> bool:
        reason = self.vcpu.run()
        if reason == uapi.KVM_EXIT_MMIO:
            mmio = self.vcpu.mmio()
            offset = mmio.phys_addr - self._target
            if mmio.is_write:
                exits.append((offset, bytes(mmio.data[: mmio.len])))
            else:
                exits.append((offset, None))
                self.vcpu.answer_mmio(self._answer(offset, mmio.len))
            return False
        assert reason == uapi.KVM_EXIT_IO
        access = self.vcpu.io()
        if access.port == END_PORT:
            return True
        place = self.vcpu.shared_address() + access.data_offset
        offset = access.port - FREE_PORT
        if access.direction:
            exits.append((offset, ctypes.string_at(place, access.size)))
        else:
            exits.append((offset, None))
            ctypes.memmove(place, self._answer(offset, access.size), access.size)
        return False

    def irqs(self, edge: int, level: int) -> tuple[bool, bool]:
        """Tell of the first 8259 whether an edge came, and whether a line is asserted.

        An edge that came is forgotten.

        :param edge: the line of the one.
        :param level: the line of the other.
        """
        chip = uapi.kvm_irqchip(uapi.KVM_IRQCHIP_PIC_MASTER)
        ioctl_struct(self.vm, uapi.KVM_GET_IRQCHIP, chip, "ioctl(KVM_GET_IRQCHIP)")
        pic = chip.chip.pic
        came, high = bool(pic.irr & 1 << edge), bool(pic.last_irr & 1 << level)
        if came:
            pic.irr &= ~(1 << edge)
            ioctl_struct(self.vm, _KVM_SET_IRQCHIP, chip, "ioctl(KVM_SET_IRQCHIP)")
        return came, high

    def close(self) -> None:
        """End the VM."""
        self.vcpu.close()
        self.vm.close()
