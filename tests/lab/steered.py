# SPDX-License-Identifier: GPL-2.0-or-later
"""A bare-metal guest with a steered device: what the kernel tests work on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from kvmbpf.bench.loop_guest import LOOP_DONE, Access, LoopGuest
from kvmbpf.kernel.kvm import KvmDevice
from kvmbpf.kernel.libbpf import BpfLink, BpfObject, StructOps
from kvmbpf.kernel.uapi import kvm as uapi
from kvmbpf.manager.backends import kernel
from kvmbpf.model.objfile import read_device
from kvmbpf.model.placement import Placed
from tests.lab.objects import device_object

GPA = 0xFEF00000
DECLINE = -95


@dataclass
class Steered:
    """A guest, and a device whose behaviour the test sets through `loaded.globals`."""

    guest: LoopGuest
    device: KvmDevice
    loaded: BpfObject
    link: BpfLink

    def set(self, **values: int) -> None:
        """Set the program's variables."""
        for name, value in values.items():
            self.loaded.globals[name] = value

    def get(self, name: str) -> int:
        """Return one of the program's variables."""
        value = self.loaded.globals[name]
        assert isinstance(value, int)
        return value

    def read(self, offset: int = 0) -> int:
        """Have the guest read 4 bytes; it must stay in the kernel."""
        return self.guest.loop(Access.READ, 1, value=0, offset=offset)

    def write(self, value: int, offset: int = 0) -> None:
        """Have the guest write 4 bytes; it must stay in the kernel."""
        self.guest.loop(Access.WRITE, 1, value=value, offset=offset)


def reaches_vmm(guest: LoopGuest, access: Access = Access.READ, offset: int = 0) -> bool:
    """Make one access and tell whether it came out to user space, with its details."""
    guest.begin(access, 1, value=7, offset=offset)
    reason = guest.vcpu.run()
    if reason == LOOP_DONE:
        return False
    assert reason == uapi.KVM_EXIT_MMIO
    mmio = guest.vcpu.mmio()
    assert (mmio.phys_addr, mmio.len) == (guest.target + offset, 4)
    assert mmio.is_write == (access is Access.WRITE)
    # Complete it, so that the next access does not.
    assert guest.vcpu.run() == LOOP_DONE
    return True


def placed_steered() -> Placed:
    """Return the steered device's place: its irqs are gsi 5 and 6."""
    return Placed(read_device(device_object("steered_v1")), (GPA,), (5, 6))


@contextmanager
def steered(*, name: str = "steered_v1", irqchip: bool = True) -> Iterator[Steered]:
    """Give a guest with the device attached."""
    placed = placed_steered()
    with (
        LoopGuest(GPA, irqchip=irqchip) as guest,
        BpfObject.open(device_object(name)) as loaded,
        kernel.create_device(guest.vm, placed) as device,
    ):
        loaded.load()
        with kernel.attach(device, placed.spec, loaded) as link:
            yield Steered(guest, device, loaded, link)


@contextmanager
def prepared(name: str, device_fd: int = 0) -> Iterator[StructOps]:
    """Give a loaded object's struct_ops, ready to be attached or to replace."""
    with BpfObject.open(device_object(name)) as loaded:
        loaded.load()
        ops = StructOps(loaded, kernel.OPS_MAP)
        ops.prepare(device_fd=device_fd)
        yield ops
