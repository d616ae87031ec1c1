# SPDX-License-Identifier: GPL-2.0-or-later
"""The paths that answer an access inside the kernel, and what each costs."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.backends import kernel
from kvmbpf.bench.loop_guest import Access, LoopGuest
from kvmbpf.fd import OwnedFd
from kvmbpf.libbpf import BpfObject
from kvmbpf.objfile import read_device
from kvmbpf.placement import Placed

# Free in a VM that has no other devices.
_TARGET_GPA = 0xFEF00000
_ACCESS_BYTES = 4
# The empty loop is that much shorter than an access.
_EMPTY_FACTOR = 100


@dataclass(frozen=True)
class Measurement:
    """The cost of one access on one path.

    :param path: the path's name.
    :param ns: median over the rounds, in nanoseconds; under icount, instructions.
    :param spread: largest less smallest of the rounds, in parts of the median.
    """

    path: str
    ns: float
    spread: float


@contextlib.contextmanager
def _nothing() -> Iterator[LoopGuest]:
    with LoopGuest(_TARGET_GPA) as guest:
        yield guest


@contextlib.contextmanager
def _ioeventfd() -> Iterator[LoopGuest]:
    with LoopGuest(_TARGET_GPA) as guest, OwnedFd(os.eventfd(0), "eventfd") as event:
        guest.vm.ioeventfd(_TARGET_GPA, _ACCESS_BYTES, event)
        yield guest


@contextlib.contextmanager
def _ebpf(bench_object: Path) -> Iterator[LoopGuest]:
    spec = read_device(bench_object)
    with contextlib.ExitStack() as stack:
        guest = stack.enter_context(LoopGuest(_TARGET_GPA))
        loaded = stack.enter_context(BpfObject.open(bench_object))
        placed = Placed(spec, (_TARGET_GPA,), ())
        device = stack.enter_context(kernel.create_device(guest.vm, placed))
        loaded.load()
        stack.enter_context(kernel.attach(device, spec, loaded))
        yield guest


_Opener = Callable[[Path], contextlib.AbstractContextManager[LoopGuest]]

EMPTY_LOOP = "no access (loop alone)"
EMPTY_LOOP_INSTRUCTIONS = 2

# name -> (what answers, given the bench device's object; what the guest does)
PATHS: dict[str, tuple[_Opener, Access]] = {
    EMPTY_LOOP: (lambda _: _nothing(), Access.NONE),
    "MMIO write, ioeventfd": (lambda _: _ioeventfd(), Access.WRITE),
    "MMIO write, eBPF": (_ebpf, Access.WRITE),
    "MMIO read, eBPF": (_ebpf, Access.READ),
}


def measure(name: str, bench_object: Path, *, count: int, rounds: int) -> Measurement:
    """Measure one path.

    :param name: one of `PATHS`.
    :param bench_object: the compiled bench device.
    :param count: accesses in the shorter of a round's two runs.
    :param rounds: how many rounds.
    :raise VmmError: when an access leaves the kernel: then it is not the path.
    """
    open_path, access = PATHS[name]
    if access is Access.NONE:
        count *= _EMPTY_FACTOR
    results = []
    with open_path(bench_object) as guest:
        guest.loop(access, count // 10 + 1)  # warm
        for _ in range(rounds):
            once = _time(guest, access, count)
            twice = _time(guest, access, 2 * count)
            results.append((twice - once) / count)
    middle = statistics.median(results)
    return Measurement(name, middle, (max(results) - min(results)) / middle)


def _time(guest: LoopGuest, access: Access, count: int) -> int:
    start = time.monotonic_ns()
    guest.loop(access, count)
    return time.monotonic_ns() - start
