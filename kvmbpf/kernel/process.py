# SPDX-License-Identifier: GPL-2.0-or-later
"""Which process it is: its number and when it started.

The kernel gives the number of a process that has ended to another one. Where a
process is to be known again later, or by a file, the time of its start goes with the
number. In one process a descriptor (pidfd) does the same, and tells of the end too.

Source: fs/proc/array.c (do_task_stat), v6.12.
"""

from __future__ import annotations

import os
import select
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.closing import Closing
from kvmbpf.errors import KernelCallError, StateError
from kvmbpf.kernel.fd import OwnedFd

_PROC = Path("/proc")
# Where cgroups of version 2 are, alone or beside those of version 1; and version 1's freezer.
_UNIFIED = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
_FREEZER = Path("/sys/fs/cgroup/freezer")
# Fields of /proc/PID/stat behind the command's name, which is the second one.
_STATE, _START = 0, 19
# Stopped by a signal, and by a debugger.
_STOPPED = ("T", "t")


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process, which no later one is mistaken for.

    :param pid: its number (C ``pid_t``), as this process's namespace has it.
    :param start_ticks: when it started, in clock ticks since boot (C ``unsigned
        long long``); None where that was not written down.
    """

    pid: int
    start_ticks: int | None

    def lives(self) -> bool:
        """Tell whether it has not ended; by the number alone where the start is not known."""
        found = find_process(self.pid)
        return found is not None and self.may_be(found)

    def may_be(self, other: ProcessId) -> bool:
        """Tell whether another one is this one, as far as is known."""
        return self.pid == other.pid and (
            self.start_ticks == other.start_ticks or None in (self.start_ticks, other.start_ticks)
        )


class LivingProcess(Closing):
    """A process of which it can be told whether it lives.

    :param pid: its process id (C ``pid_t``).
    :param start_ticks: when it started, where that is known: another process of the
        same number is refused.
    :raise KernelCallError: when there is no such process.
    :raise StateError: when it is another one.
    """

    def __init__(self, pid: int, start_ticks: int | None = None) -> None:
        self.pid = pid
        try:
            self._fd = OwnedFd(os.pidfd_open(pid), f"pidfd of {pid}")
        except OSError as error:
            raise KernelCallError(f"pidfd_open({pid})", error.errno or 0) from error
        # Of this very process, or of none: the number is not given away while it lives.
        self.id = ProcessId(pid, _start_ticks(pid))
        if not self.id.may_be(ProcessId(pid, start_ticks)):
            self.close()
            raise StateError(f"process {pid} has ended: another one has its number now")

    def lives(self) -> bool:
        """Tell whether it has not ended yet; one that nobody has waited for has."""
        return not self.wait(0)

    def wait(self, timeout: float) -> bool:
        """Wait for its end; tell whether it came.

        :param timeout: in seconds.
        """
        poll = select.poll()
        poll.register(self._fd.fileno(), select.POLLIN)
        return bool(poll.poll(timeout * 1000))

    def close(self) -> None:
        """Let go of it; closing twice is fine."""
        self._fd.close()


def find_process(pid: int) -> ProcessId | None:
    """Return the process that has a number now; None for none, or one that has ended."""
    try:
        with LivingProcess(pid) as process:
            # Read before this look: had it ended in between, it would not live now.
            return process.id if process.lives() else None
    except (KernelCallError, OverflowError):
        return None


def own_process() -> ProcessId:
    """Return this process."""
    return ProcessId(os.getpid(), _start_ticks(os.getpid()))


def process_name(pid: int) -> str | None:
    """Return a process's name, as `ps` shows it; None when it is gone. It may say anything."""
    try:
        return (_PROC / str(pid) / "comm").read_text(errors="surrogateescape").rstrip("\n")
    except OSError:
        return None


def why_it_stands(pid: int) -> str:
    """Say why a process does not run, and how it goes on; empty when it may run."""
    if (_fields(pid) or ["?"])[_STATE] in _STOPPED:
        return f"process {pid} is stopped: kill -CONT {pid}"
    mend = _thaw(pid)
    return f"process {pid} is frozen with its cgroup: {mend}" if mend else ""


def _thaw(pid: int) -> str:
    """Return what thaws a process that was frozen with its cgroup; empty for any other."""
    for line in (_read(_PROC / str(pid) / "cgroup") or "").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            for root in _UNIFIED:
                if "frozen 1" in (_read(root / path.lstrip("/") / "cgroup.events") or ""):
                    return _how(root, path, "cgroup.freeze", "1", "0")
        elif "freezer" in controllers.split(","):
            state = _read(_FREEZER / path.lstrip("/") / "freezer.state")
            if state is not None and state != "THAWED":
                return _how(_FREEZER, path, "freezer.self_freezing", "1", "THAWED")
    return ""


def _how(root: Path, path: str, file: str, frozen: str, thawed: str) -> str:
    """Return the command that thaws the group above a process in which it was frozen."""
    group = root / path.lstrip("/")
    above = [one for one in (group, *group.parents) if _read(one / file) == frozen]
    word = "cgroup.freeze" if thawed == "0" else "freezer.state"
    return f"echo {thawed} > {(above[-1] if above else group) / word}"


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def _start_ticks(pid: int) -> int | None:
    fields = _fields(pid)
    return int(fields[_START]) if fields else None


def _fields(pid: int) -> list[str] | None:
    """Return the fields of a process's stat behind its name, which may hold anything."""
    try:
        text = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    return text.rpartition(b")")[2].decode("ascii", "replace").split()
