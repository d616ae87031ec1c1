# SPDX-License-Identifier: GPL-2.0-or-later
"""What a hot update takes, and what it does to the guest's accesses.

The demo device is attached to a VM of another process by the manager's own code,
and updated again and again, from version 1 to 2 and back.

Its cost is the time of `kvmbpf.manager.update`, by steps, in a process that has
made updates before and keeps their memory (`keep_freed_memory`); and the processor
time of ``kvmbpf update FILE`` as a whole, with that of ``kvmbpf update --help`` beside
it: what Python takes to start, and to import the manager. Under the lab's --icount
both are counts of instructions. Processor time leaves out what a process waits for, as
for its files from a disk.

Then the guest reads a register all the time, and notes how long each read takes
(`kvmbpf.bench.paced_guest`). Each reply is looked at: its number is one more than that
of the read before, its checksum is right, and the version changes once an update. The
longest read during updates is put beside those while this process does something else
for as long. That is: what KVM takes for an access to a device that is being replaced,
with what it waits for where the swap makes it wait. It is not what a guest
loses when the manager takes its CPU: the vCPU has priority. On a host with one CPU, as
under --icount, no access can begin while the swap itself runs, unless that sleeps: a
second CPU's access may be longer there, by no more than the step ``swap``.

Both are done a second time with the ticks of the host's clock in them. Whichever
access a tick meets is the longest then, also without updates; with them a tick does
more, as freeing the programs before.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kvmbpf.bench.paced_guest import BATCH, PacedGuest, TimedAccess
from kvmbpf.errors import StateError, VmmError
from kvmbpf.manager import Store, UpdateStep, attach, detach, keep_freed_memory, update
from kvmbpf.model.objfile import read_device
from kvmbpf.model.placement import Placed

NAME = "hot update"

_VM = "bench"
_GPA = 0xFEF00000
_GSIS = (5, 6)
# kvmbpf/devices/demo/demo_regs.h has it all.
_COUNTER_OFFSET = 0x08
_CHECKSUM_SEED = 0x5A
# Fewer do not have a one in a thousand.
_FEWEST = 1000


@dataclass(frozen=True, slots=True)
class UpdateCost:
    """What updates took, in nanoseconds.

    :param update_ns: the manager's `update`, one number an update.
    :param steps_ns: its steps likewise, by their names; they add up to it.
    :param command_ns: processor time of ``kvmbpf update FILE``, once.
    :param help_ns: processor time of ``kvmbpf update --help``, once.
    """

    update_ns: tuple[int, ...]
    steps_ns: dict[str, tuple[int, ...]]
    command_ns: int
    help_ns: int


@dataclass(frozen=True, slots=True)
class Durations:
    """How long accesses took, in nanoseconds of the guest's clock.

    :param count: how many accesses there were.
    :param p999_ns: all but one in a thousand took no longer.
    """

    count: int
    median_ns: float
    p999_ns: float
    longest_ns: float

    @classmethod
    def of(cls, accesses: Iterable[TimedAccess]) -> Durations:
        """Return those of some accesses.

        :raise StateError: when there are too few of them.
        """
        found = sorted(access.ns for access in accesses)
        if len(found) < _FEWEST:
            raise StateError(f"{NAME}: only {len(found)} accesses; measure more rounds")
        at = -(-len(found) * 999 // 1000) - 1
        return cls(len(found), statistics.median(found), found[at], found[-1])


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What updates do to accesses.

    :param updates: how many there were; each changed the version that answers.
    :param without: the accesses while there was none.
    :param during: the accesses while there was one.
    """

    updates: int
    without: Durations
    during: Durations

    @property
    def ratio(self) -> float:
        """The longest access during updates, in parts of the p99.9 without."""
        return self.during.longest_ns / self.without.p999_ns


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """All that was measured.

    :param cost: what updates took.
    :param between_ticks: accesses that no tick of the host's clock has met.
    :param with_ticks: accesses whenever they came.
    """

    cost: UpdateCost
    between_ticks: Disturbance
    with_ticks: Disturbance

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        found = dataclasses.asdict(self)
        for name in ("between_ticks", "with_ticks"):
            found[name]["ratio"] = getattr(self, name).ratio
        return found


def measure_updates(versions: Sequence[Path], folder: Path, *, rounds: int) -> UpdateReport:
    """Measure updates.

    :param versions: the objects of the demo device's versions 1 and 2.
    :param folder: for what is compiled and written down; stays as long as this runs.
    :param rounds: how many rounds; each is an update there and one back.
    :raise VmmError: when an access is lost, or answered by half a version, or the VM
        or a command ends before its time.
    :raise UnsupportedError: when the running kernel has no BPF devices, or root's
        rights are missing.
    :raise StateError: when there were too few accesses to tell.
    """
    keep_freed_memory()
    with _attached(versions, folder) as device:
        cost = _cost(device, rounds)
        calm = _disturbance(device, rounds, between_ticks=True)
        return UpdateReport(cost, calm, _disturbance(device, rounds, between_ticks=False))


class _Device:
    """The attached demo device.

    :param versions: its objects; the first one is attached.
    """

    def __init__(self, store: Store, guest: PacedGuest, versions: Sequence[Path]) -> None:
        self.store = store
        self.guest = guest
        self._versions = versions
        self._attached = 0

    def other(self) -> Path:
        """Return the object that is not attached, and take it as attached from now on."""
        self._attached = 1 - self._attached
        return self._versions[self._attached]

    def update(self) -> None:
        """Replace the attached version by the other one."""
        update(self.store, self.other())

    def update_by_command(self) -> int:
        """Do so in a process of its own; return its processor time in ns."""
        return _run(("update", str(self.other())), self.store)


@contextlib.contextmanager
def _attached(versions: Sequence[Path], folder: Path) -> Iterator[_Device]:
    with contextlib.ExitStack() as stack:
        guest = stack.enter_context(PacedGuest(_GPA, _COUNTER_OFFSET, folder))
        # Beside what this host's own devices have: nobody else's command sees this one.
        pins = Path(os.environ.get("KVMBPF_BPFFS", "/sys/fs/bpf")) / f"kvmbpf-bench-{os.getpid()}"
        pins.mkdir(mode=0o700)
        stack.callback(pins.rmdir)
        store = Store(folder / "run", pins)
        stack.callback(_remove_if_there, store.pin_dir)
        spec = read_device(versions[0])
        attach(store, versions[0], Placed(spec, (_GPA,), _GSIS), pid=guest.pid, vm=_VM)
        stack.callback(detach, store, spec.name, vm=_VM)
        yield _Device(store, guest, versions)


def _remove_if_there(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        folder.rmdir()


def _cost(device: _Device, rounds: int) -> UpdateCost:
    for _ in range(2):  # warm
        device.update()
    found = [_timed_update(device) for _ in range(2 * rounds)]
    # First what reads all the files: they are slow to come, under --icount.
    help_ns = _run(("update", "--help"), device.store)
    return UpdateCost(
        update_ns=tuple(sum(steps.values()) for steps in found),
        steps_ns={step.value: tuple(steps[step] for steps in found) for step in UpdateStep},
        command_ns=device.update_by_command(),
        help_ns=help_ns,
    )


def _timed_update(device: _Device) -> dict[UpdateStep, int]:
    """Make an update; return what each step took, in ns."""
    begins: list[tuple[UpdateStep, int]] = []
    path = device.other()
    update(device.store, path, begins=lambda step: begins.append((step, time.monotonic_ns())))
    ends = [when for _, when in begins[1:]] + [time.monotonic_ns()]
    took = dict.fromkeys(UpdateStep, 0)
    for (step, begin), end in zip(begins, ends, strict=True):
        took[step] += end - begin
    return took


def _run(arguments: Sequence[str], store: Store) -> int:
    """Run a command of kvmbpf; return its processor time in ns.

    :raise VmmError: when it fails; it has said why.
    """
    command = [sys.executable, "-m", "kvmbpf", *arguments]
    places = {"KVMBPF_RUN_DIR": str(store.run_dir), "KVMBPF_BPFFS": str(store.pin_dir.parent)}
    quiet = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
    pid = os.posix_spawn(command[0], command, os.environ | places, file_actions=[quiet])
    _, status, usage = os.wait4(pid, 0)
    if status:
        code = os.waitstatus_to_exitcode(status)
        raise VmmError(f"kvmbpf {' '.join(arguments)}: exit status {code}")
    return round((usage.ru_utime + usage.ru_stime) * 1e9)


def _disturbance(device: _Device, rounds: int, *, between_ticks: bool) -> Disturbance:
    guest, updates = device.guest, 2 * rounds
    during: list[TimedAccess] = []
    with guest.running(between_ticks=between_ticks):
        first = guest.count - BATCH
        begin = time.monotonic_ns()
        for _ in range(updates):
            before = guest.count
            device.update()
            if guest.count == before:
                raise StateError(f"{NAME}: the guest made no access during an update")
            # One whole batch more, so that the first reply of the new version is seen.
            during += guest.accesses(before, guest.await_accesses(2 * BATCH))
        took_ns = time.monotonic_ns() - begin
        between = guest.await_accesses(BATCH)
        _be_busy(took_ns)
        end = guest.await_accesses(BATCH)
    without = guest.accesses(between, end)
    changes = check_replies(access.reply for access in guest.accesses(first, end))
    if changes != updates:
        raise VmmError(f"{NAME}: {updates} updates, but the version changed {changes} times")
    return Disturbance(updates, Durations.of(without), Durations.of(during))


def _be_busy(ns: int) -> None:
    """Have this process as busy as an update has it, for so long."""
    end = time.monotonic_ns() + ns
    while time.monotonic_ns() < end:
        continue


def check_replies(replies: Iterable[int]) -> int:
    """Look whether replies of the demo device are without a gap, and each of one version.

    :param replies: of its register COUNTER (C ``__u64`` each), one after the other.
    :return: how often the version changed.
    :raise VmmError: when one is wrong; names it.
    """
    before: tuple[int, int, int] | None = None
    changes = 0
    for reply in replies:
        version, generation, number = reply >> 56, reply >> 32 & 0xFFFF, reply & 0xFFFFFFFF
        checksum = _CHECKSUM_SEED
        for byte in reply.to_bytes(8, "little"):
            checksum ^= byte
        if checksum:
            raise VmmError(f"{NAME}: a reply with a wrong checksum: {reply:#018x}")
        if before is not None:
            changed = version != before[0]
            wanted = (before[1] + changed & 0xFFFF, before[2] + 1 & 0xFFFFFFFF)
            if (generation, number) != wanted:
                raise VmmError(f"{NAME}: reply {reply:#018x} does not follow number {before[2]}")
            changes += changed
        before = version, generation, number
    return changes
