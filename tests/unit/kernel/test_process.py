# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes are known by number and start, and it is told why one stands."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmbpf.errors import KernelCallError, StateError
from kvmbpf.kernel.process import (
    LivingProcess,
    ProcessId,
    find_process,
    own_process,
    process_name,
    why_it_stands,
)

pytestmark = pytest.mark.unit
NOBODY = 1 << 22


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """Give a process whose name has all that confuses who reads /proc/PID/stat."""
    code = "import ctypes, time; ctypes.CDLL(None).prctl(15, b') R 1 (\\n', 0, 0, 0)"
    with subprocess.Popen(
        ["/usr/bin/python3", "-c", f"{code}; print(1, flush=True); time.sleep(600)"],
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def state_of(pid: int) -> str:
    text = Path(f"/proc/{pid}/stat").read_text()
    return text.rpartition(")")[2].split()[0]


def await_state(pid: int, state: str) -> None:
    deadline = time.monotonic() + 30
    while state_of(pid) != state:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_process_is_known_again_by_its_start(sleeper: subprocess.Popen[bytes]) -> None:
    found = find_process(sleeper.pid)
    assert found is not None
    assert found.lives()
    text = Path(f"/proc/{sleeper.pid}/stat").read_bytes()
    assert found.start_ticks == int(text.rpartition(b")")[2].split()[19])
    later = ProcessId(sleeper.pid, (found.start_ticks or 0) + 1)
    assert not later.lives(), "another process that had this number"
    assert not found.may_be(later)
    assert found.may_be(ProcessId(sleeper.pid, None)), "of a record without a start"
    assert ProcessId(sleeper.pid, None).lives()
    assert not found.may_be(ProcessId(os.getpid(), None))


def test_the_end_ends_it(sleeper: subprocess.Popen[bytes]) -> None:
    found = find_process(sleeper.pid)
    assert found is not None
    sleeper.kill()
    sleeper.wait()
    assert not found.lives()
    assert find_process(sleeper.pid) is None


def test_a_zombie_has_ended(sleeper: subprocess.Popen[bytes]) -> None:
    found = find_process(sleeper.pid)
    assert found is not None
    sleeper.kill()
    await_state(sleeper.pid, "Z")
    assert not found.lives()
    assert find_process(sleeper.pid) is None
    with LivingProcess(sleeper.pid) as process:
        assert not process.lives()


def test_another_process_of_a_number_is_refused(sleeper: subprocess.Popen[bytes]) -> None:
    with LivingProcess(sleeper.pid) as process:
        start = process.id.start_ticks
    LivingProcess(sleeper.pid, start).close()
    with pytest.raises(StateError, match=f"process {sleeper.pid} has ended: another one has its"):
        LivingProcess(sleeper.pid, 1)


def test_nobody_is_told(sleeper: subprocess.Popen[bytes]) -> None:
    assert find_process(NOBODY) is None
    assert find_process(1 << 40) is None
    assert process_name(NOBODY) is None
    assert why_it_stands(NOBODY) == ""
    with pytest.raises(KernelCallError, match="ESRCH"):
        LivingProcess(NOBODY)


def test_a_thread_is_no_process() -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    assert thread.native_id is not None
    assert find_process(thread.native_id) is None
    end.set()
    thread.join()


def test_own_process() -> None:
    assert own_process() == find_process(os.getpid())


def test_a_stopped_process_is_told(sleeper: subprocess.Popen[bytes]) -> None:
    assert why_it_stands(sleeper.pid) == ""
    sleeper.send_signal(signal.SIGSTOP)
    await_state(sleeper.pid, "T")
    assert why_it_stands(sleeper.pid) == (
        f"process {sleeper.pid} is stopped: kill -CONT {sleeper.pid}"
    )
    sleeper.send_signal(signal.SIGCONT)
    await_state(sleeper.pid, "S")
    assert why_it_stands(sleeper.pid) == ""


# A host has one of the first two.
FREEZERS = [
    ("/sys/fs/cgroup", "cgroup.freeze", "1", "0"),
    ("/sys/fs/cgroup/unified", "cgroup.freeze", "1", "0"),
    ("/sys/fs/cgroup/freezer", "freezer.state", "FROZEN", "THAWED"),
]


@pytest.mark.parametrize(
    ("root", "file", "frozen", "thawed"),
    [row for row in FREEZERS if Path(row[0], "cgroup.procs").exists()],
)
def test_a_frozen_process_is_told(
    sleeper: subprocess.Popen[bytes], root: str, file: str, frozen: str, thawed: str
) -> None:
    outer = Path(root) / f"kvmbpf-test-{os.getpid()}"
    inner = outer / "inner"
    inner.mkdir(parents=True)
    try:
        (inner / "cgroup.procs").write_text(str(sleeper.pid))
        (outer / file).write_text(frozen)
        deadline = time.monotonic() + 30
        while not why_it_stands(sleeper.pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        said = why_it_stands(sleeper.pid)
        assert said == (
            f"process {sleeper.pid} is frozen with its cgroup: echo {thawed} > {outer / file}"
        )
        command = said.partition(": ")[2]
        subprocess.run(["sh", "-c", command], check=True)
        deadline = time.monotonic() + 30
        while why_it_stands(sleeper.pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        (outer / file).write_text(thawed)
        sleeper.kill()
        sleeper.wait()
        inner.rmdir()
        outer.rmdir()
