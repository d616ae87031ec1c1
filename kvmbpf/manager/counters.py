# SPDX-License-Identifier: GPL-2.0-or-later
"""How much is going on in devices: accesses, and the time that they take.

Counted by the kernel's run-time statistics of BPF programs, which need no
descriptor of the device: a device's ``read`` program runs once for each read that
gets to it. They are on while a `Counter` is open, for all programs of the host,
and the kernel turns them off again however this process ends. An update replaces
the programs; those that left are asked once more, so that nothing is missed.

Declines and faults are KVM's, and are there for whoever may ptrace the VMM
(`kvmbpf.manager.opening`). KVM's own statistics are not used: who turned them on
and was killed would leave them on, and the device slower.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

from kvmbpf.closing import Closing
from kvmbpf.errors import KernelCallError, StateError
from kvmbpf.kernel.libbpf.loaded import (
    LoadedProgram,
    enable_run_statistics,
    open_map_id,
    program_ids,
)
from kvmbpf.kernel.rights import require
from kvmbpf.kernel.uapi import kvm as uapi
from kvmbpf.manager.devices import DeviceStatus, find_device
from kvmbpf.manager.listing import list_devices
from kvmbpf.manager.opening import try_open
from kvmbpf.manager.record import DeviceRecord
from kvmbpf.manager.store import Store

_READ, _WRITE = "read", "write"


@dataclass(frozen=True)
class Totals:
    """What KVM has counted since a device was made."""

    declines: int
    faults: int
    ejected: bool


@dataclass(frozen=True)
class Activity:
    """What went on in a device in some time.

    :param seconds: how long that was.
    :param reads: that the programs were called for, as `writes`.
    :param ns: that the calls took, reset's included.
    :param declines: accesses that were declined; None where nobody can tell, as
        the next two.
    :param faults: accesses that were faults.
    :param ejected: whether the programs are ejected now.
    """

    vm: str
    pid: int
    device: str
    seconds: float
    reads: int
    writes: int
    ns: int
    declines: int | None
    faults: int | None
    ejected: bool | None

    @property
    def reads_per_s(self) -> float:
        """Reads a second."""
        return self.reads / self.seconds if self.seconds else 0.0

    @property
    def writes_per_s(self) -> float:
        """Writes a second."""
        return self.writes / self.seconds if self.seconds else 0.0

    @property
    def ns_per_access(self) -> float | None:
        """The mean time of a call in ns; None when there was none."""
        calls = self.reads + self.writes
        return self.ns / calls if calls else None


class _Watched(Closing):
    """One device's programs, as they were at the last look."""

    def __init__(self) -> None:
        self.programs: dict[int, tuple[str, LoadedProgram]] = {}
        self.seen: dict[int, tuple[int, int]] = {}
        self.totals: Totals | None = None

    def follow(self, found: DeviceStatus) -> None:
        """Open what answers now beside what did at the last look."""
        with contextlib.suppress(KernelCallError), open_map_id(found.map_id) as ops:
            for callback, number in program_ids(ops).items():
                if number not in self.programs:
                    self.programs[number] = (callback, LoadedProgram.open_id(number))

    def count(self) -> tuple[dict[str, int], int]:
        """Return the runs since the last look by callback, and their time in ns."""
        runs: dict[str, int] = {}
        spent_ns = 0
        for number, (callback, program) in self.programs.items():
            info = program.info()
            count, ns = self.seen.get(number, (0, 0))
            runs[callback] = runs.get(callback, 0) + info.run_count - count
            spent_ns += info.run_ns - ns
            self.seen[number] = (info.run_count, info.run_ns)
        return runs, spent_ns

    def forget(self, found: DeviceStatus) -> None:
        """Close the programs that no longer answer: they were asked a last time."""
        with contextlib.suppress(KernelCallError), open_map_id(found.map_id) as ops:
            present = set(program_ids(ops).values())
            for number in set(self.programs) - present:
                self.programs.pop(number)[1].close()
                self.seen.pop(number, None)

    def close(self) -> None:
        for _, program in self.programs.values():
            program.close()
        self.programs.clear()


class Counter(Closing):
    """Counts accesses while it is open.

    :param device: the one to look at; None for all.
    :param vm: the VM's name; None where the device's is unique.
    :param pid: of its VMM, where VMs of one name have the device; None for any.
    :raise StateError: when that one is not attached.
    :raise UnsupportedError: without CAP_SYS_ADMIN.
    """

    def __init__(
        self,
        store: Store,
        device: str | None = None,
        *,
        vm: str | None = None,
        pid: int | None = None,
    ) -> None:
        self._store, self._device, self._vm, self._pid = store, device, vm, pid
        self._watched: dict[tuple[str, str], _Watched] = {}
        self._closed = False
        self._devices()  # what is wrong with them comes first
        require("kvmbpf stat", "CAP_SYS_ADMIN")
        self._statistics = enable_run_statistics()
        try:
            self._last_s = time.monotonic()
            self.sample()
        except BaseException:
            self.close()
            raise

    def sample(self) -> list[Activity]:
        """Return what went on since the last call, or since this was opened.

        A device that has gone is left out; one that is new begins at its attach.

        :raise StateError: when this is closed, or the one device has gone.
        :raise KernelCallError: when the kernel refuses.
        """
        if self._closed:
            raise StateError("the counter is closed")
        now_s = time.monotonic()
        seconds, self._last_s = now_s - self._last_s, now_s
        found = {(one.record.home, one.record.device): one for one in self._devices()}
        for key in set(self._watched) - set(found):
            self._watched.pop(key).close()
        return [self._look(key, one, seconds) for key, one in found.items()]

    def _devices(self) -> list[DeviceStatus]:
        if self._device is not None:
            return [find_device(self._store, self._device, self._vm, self._pid)]
        return [
            one
            for one in list_devices(self._store)
            if self._vm in (None, one.record.vm) and self._pid in (None, one.record.pid)
        ]

    def _look(self, key: tuple[str, str], found: DeviceStatus, seconds: float) -> Activity:
        watched = self._watched.setdefault(key, _Watched())
        watched.follow(found)
        runs, spent_ns = watched.count()
        watched.forget(found)
        before, after = watched.totals, _totals(found.record)
        watched.totals = after
        return Activity(
            vm=found.record.vm,
            pid=found.record.pid,
            device=found.record.device,
            seconds=seconds,
            reads=runs.get(_READ, 0),
            writes=runs.get(_WRITE, 0),
            ns=spent_ns,
            declines=after.declines - before.declines if before and after else None,
            faults=after.faults - before.faults if before and after else None,
            ejected=after.ejected if after else None,
        )

    def close(self) -> None:
        """Stop counting; twice is fine."""
        self._closed = True
        for watched in self._watched.values():
            watched.close()
        self._watched.clear()
        self._statistics.close()


def _totals(record: DeviceRecord) -> Totals | None:
    """Return KVM's own counts of a device, or None where nobody can tell."""
    device, _ = try_open(record)
    if device is None:
        return None
    with device:
        stats = [device.stats(index) for index in range(len(record.regions))]
        return Totals(
            sum(one.declines for one in stats),
            sum(one.faults for one in stats),
            bool(device.info().state & uapi.KVM_BPF_STATE_EJECTED),
        )
