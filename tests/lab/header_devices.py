# SPDX-License-Identifier: GPL-2.0-or-later
"""A device of the author's header in both kinds: attached to a guest, and called.

Both make the same steps and tell what became of them in the same words.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.bench.loop_guest import FREE_PORT
from kvmbpf.kernel.kvm import KvmDevice
from kvmbpf.kernel.libbpf import BpfLink, BpfObject
from kvmbpf.kernel.libbpf.globals import Globals
from kvmbpf.kernel.uapi.kvmbpf import CALL_READ, CALL_WRITE, KVMBPF_DECLINE, kvmbpf_call
from kvmbpf.manager.backends import kernel
from kvmbpf.model.objfile import read_device
from kvmbpf.model.placement import Placed
from kvmbpf.model.spec import Bus, DeviceSpec
from tests.lab.pace import PACE
from tests.lab.step_guest import Outcome, Step, StepGuest

GPA = 0xFEF00000
# gsi 5 and 6 are lines of the first 8259; the device's irq 0 is an edge there.
EDGE, LEVEL = 5, 6
PAGE = 0x1000


def vmm_answer(offset: int, length: int) -> bytes:
    """Return what the VMM answers to a read that came out to it."""
    return bytes((offset * 7 + index) & 0xFF for index in range(length))


@dataclass
class Attached:
    """A guest with a device that KVM runs."""

    guest: StepGuest
    device: KvmDevice
    loaded: BpfObject
    globals: Globals
    link: BpfLink

    def step(self, step: Step) -> Outcome:
        """Make a step in the guest."""
        return self.guest.step(step)

    def irqs(self) -> tuple[bool, bool]:
        """Tell whether irq 0 was raised since the last time, and irq 1 is asserted."""
        return self.guest.irqs(EDGE, LEVEL)

    def write(self, offset: int, value: int) -> None:
        """Have the guest write 8 bytes; they must not come out."""
        assert self.step(Step(offset, 8, value)).exits == ()

    def get(self, name: str) -> int:
        """Return one of the program's variables."""
        value = self.globals[name]
        assert isinstance(value, int)
        return value


@contextmanager
def _no_longer_than(seconds: int) -> Iterator[None]:
    """Fail a test whose guest hangs: it would take the lab with it."""

    def fail(signum: int, frame: object) -> None:
        raise AssertionError(f"a guest took {seconds} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def attached(path: Path) -> Iterator[Attached]:
    """Give a guest with a device attached, at GPA and at FREE_PORT."""
    spec = read_device(path)
    bases = tuple(GPA if region.bus is Bus.MMIO else FREE_PORT for region in spec.regions)
    placed = Placed(spec, bases, (EDGE, LEVEL)[: len(spec.irqs)])
    with (
        _no_longer_than(180 * PACE),
        StepGuest(GPA, vmm_answer) as guest,
        kernel.open_object(path) as loaded,
        kernel.create_device(guest.vm, placed) as device,
    ):
        loaded.load()
        with kernel.attach(device, spec, loaded) as link:
            yield Attached(guest, device, loaded, loaded.globals, link)


class Called:
    """The same device, called: what a VMM on a stock kernel does with its exits."""

    def __init__(self, loaded: BpfObject, spec: DeviceSpec) -> None:
        self.globals = loaded.globals
        self._programs = loaded.program(CALL_READ), loaded.program(CALL_WRITE)
        self._spec = spec
        self._edge = self._high = False
        self.last_result = 0

    def step(self, step: Step) -> Outcome:
        """Make a step, part by part where it crosses a page."""
        wanted = b"" if step.value is None else step.value.to_bytes(8, "little")[: step.width]
        data = b""
        exits: list[tuple[int, bytes | None]] = []
        for offset, length in _parts(step):
            part = wanted[len(data) : len(data) + length] if step.is_write else None
            answer = self._access(step, offset, length, part)
            if answer is None:
                exits.append((offset, part))
                answer = vmm_answer(offset, length)
            data += part or answer
        return Outcome(int.from_bytes(data, "little"), tuple(exits))

    def _access(self, step: Step, offset: int, length: int, part: bytes | None) -> bytes | None:
        """Return what the device answers to a part, or None when it is the VMM's."""
        bus = Bus.PIO if step.pio else Bus.MMIO
        region = next(region for region in self._spec.regions if region.bus is bus)
        if offset + length > region.size:
            return None
        value = int.from_bytes(part or b"", "little")
        call = kvmbpf_call(region=region.index, len=length, offset=offset, value=value)
        done = self._programs[part is not None].call(call)
        self.last_result = done.result
        self._edge |= bool(done.irqs & 1)
        if done.irqs & 2:
            self._high = bool(done.levels & 2)
        if done.result == KVMBPF_DECLINE:
            return None
        if done.result:
            return b"\xff" * length
        return int(done.value).to_bytes(8, "little")[:length]

    def irqs(self) -> tuple[bool, bool]:
        """Tell whether irq 0 was raised since the last time, and irq 1 is asserted."""
        edge, self._edge = self._edge, False
        return edge, self._high


@contextmanager
def called(path: Path) -> Iterator[Called]:
    """Give a device that is called."""
    with BpfObject.open(path) as loaded:
        loaded.use_call_entries()
        loaded.load()
        yield Called(loaded, read_device(path))


def _parts(step: Step) -> list[tuple[int, int]]:
    """Return the accesses that KVM makes of a step: (offset, length)."""
    room = PAGE - step.offset % PAGE
    if step.pio or step.width <= room:
        return [(step.offset, step.width)]
    return [(step.offset, room), (step.offset + room, step.width - room)]
