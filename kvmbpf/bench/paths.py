# SPDX-License-Identifier: GPL-2.0-or-later
"""The paths that can answer an access, and the opponents of each."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.author.compile import compile_shipped
from kvmbpf.bench.loop_guest import Access, LoopGuest
from kvmbpf.bench.minimal_vmm import MinimalVmm
from kvmbpf.kernel.fd import OwnedFd
from kvmbpf.kernel.libbpf import BpfObject
from kvmbpf.manager.backends import kernel
from kvmbpf.model.objfile import read_device
from kvmbpf.model.placement import Placed
from kvmbpf.model.spec import Bus

# Free in a VM that has no other devices.
_TARGET_GPA = 0xFEF00000
_ACCESS_BYTES = 4


class Parts:
    """What paths need and a compiler makes: each made when it is first asked for.

    :param folder: where the parts go; it stays as long as this object is used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @functools.cached_property
    def vmm(self) -> MinimalVmm:
        """The VMM that answers in user space."""
        return MinimalVmm.build(self.folder)

    @functools.cached_property
    def mmio_object(self) -> Path:
        """The bench device on the MMIO bus."""
        return compile_shipped("bench/bench", self.folder)

    @functools.cached_property
    def pio_object(self) -> Path:
        """The bench device at ports."""
        return compile_shipped("bench/bench_pio", self.folder)

    @functools.cached_property
    def demo_objects(self) -> tuple[Path, Path]:
        """The demo device's versions 1 and 2, of which one replaces the other."""
        first, second = (compile_shipped(f"demo/demo_v{number}", self.folder) for number in (1, 2))
        return first, second


# Makes so many accesses and comes back. What answers is ready before.
Loop = Callable[[Access, int], object]
_Opener = Callable[[Parts], contextlib.AbstractContextManager[Loop]]


class NoPortsError(Exception):
    """The running kernel's BPF devices cannot have ports: there is no such path."""


@contextlib.contextmanager
def _nothing(_: Parts) -> Iterator[Loop]:
    with LoopGuest(_TARGET_GPA) as guest:
        yield guest.loop


def _ioeventfd(bus: Bus) -> _Opener:
    @contextlib.contextmanager
    def ready(_: Parts) -> Iterator[Loop]:
        with LoopGuest(_TARGET_GPA) as guest, OwnedFd(os.eventfd(0), "eventfd") as event:
            base = _base(guest, bus)
            guest.vm.ioeventfd(base, _ACCESS_BYTES, event, pio=bus is Bus.PIO)
            yield guest.loop

    return ready


@contextlib.contextmanager
def _vmm(parts: Parts) -> Iterator[Loop]:
    with LoopGuest(_TARGET_GPA) as guest:
        yield functools.partial(parts.vmm.loop, guest)


def _ebpf(bus: Bus) -> _Opener:
    @contextlib.contextmanager
    def ready(parts: Parts) -> Iterator[Loop]:
        with contextlib.ExitStack() as stack:
            guest = stack.enter_context(LoopGuest(_TARGET_GPA))
            if bus is Bus.PIO and not kernel.supports_ports(guest.vm):
                raise NoPortsError
            path = parts.pio_object if bus is Bus.PIO else parts.mmio_object
            spec = read_device(path)
            placed = Placed(spec, (_base(guest, bus),), ())
            loaded = stack.enter_context(BpfObject.open(path))
            device = stack.enter_context(kernel.create_device(guest.vm, placed))
            loaded.load()
            stack.enter_context(kernel.attach(device, spec, loaded))
            yield guest.loop

    return ready


def _base(guest: LoopGuest, bus: Bus) -> int:
    return guest.port if bus is Bus.PIO else guest.target


@dataclass(frozen=True, slots=True)
class AccessPath:
    """One way for an access to be answered.

    :param group: what the guest does, as ``MMIO write``; empty for the loop alone.
    :param answered_by: what answers, as ``eBPF``.
    :param access: what the guest's loop does.
    :param open: gets it ready.
    """

    group: str
    answered_by: str
    access: Access
    open: _Opener

    @property
    def name(self) -> str:
        """What the user calls it."""
        return f"{self.group}, {self.answered_by}" if self.group else self.answered_by


IOEVENTFD, VMM, EBPF = "ioeventfd", "VMM", "eBPF"
# Whom the others are compared with, in the order of the columns.
OPPONENTS = (IOEVENTFD, VMM)

EMPTY_LOOP = AccessPath("", "no access (loop alone)", Access.NONE, _nothing)
EMPTY_LOOP_INSTRUCTIONS = 2

PATHS: tuple[AccessPath, ...] = (
    EMPTY_LOOP,
    AccessPath("MMIO write", IOEVENTFD, Access.WRITE, _ioeventfd(Bus.MMIO)),
    AccessPath("MMIO write", VMM, Access.WRITE, _vmm),
    AccessPath("MMIO write", EBPF, Access.WRITE, _ebpf(Bus.MMIO)),
    AccessPath("MMIO read", VMM, Access.READ, _vmm),
    AccessPath("MMIO read", EBPF, Access.READ, _ebpf(Bus.MMIO)),
    AccessPath("PIO write", IOEVENTFD, Access.PIO_WRITE, _ioeventfd(Bus.PIO)),
    AccessPath("PIO write", VMM, Access.PIO_WRITE, _vmm),
    AccessPath("PIO write", EBPF, Access.PIO_WRITE, _ebpf(Bus.PIO)),
    AccessPath("PIO read", VMM, Access.PIO_READ, _vmm),
    AccessPath("PIO read", EBPF, Access.PIO_READ, _ebpf(Bus.PIO)),
)
