# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.manager.lock: one holder, who is named, and none after its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kvmbpf.errors import KernelCallError, StateError
from kvmbpf.manager.lock import hold, holder

HOLD = """
import sys
from pathlib import Path
from kvmbpf.manager.lock import hold
with hold(Path(sys.argv[1]), "VM a", "is changing it"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Have another process hold the lock."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_holder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with other_process(path) as other:
        assert holder(path) == other.pid
        sentence = f"VM a: another kvmbpf, process {other.pid}, is changing it"
        with pytest.raises(StateError, match=sentence), hold(path, "VM a", "is changing it"):
            pass


def test_who_has_patience_gets_it_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with other_process(path) as other:
        assert other.stdin is not None
        threading.Timer(0.2, other.stdin.close).start()
        with hold(path, "VM a", "is changing it", patience_s=60):
            assert holder(path) == os.getpid()
        assert other.wait() == 0


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with other_process(path) as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert holder(path) is None
        with hold(path, "VM a", "is changing it"):
            assert holder(path) == os.getpid()


def test_off_on_off_twice(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert holder(path) is None
    for _ in range(2):
        with hold(path, "VM a", "is changing it"):
            assert holder(path) == os.getpid()
        assert holder(path) is None


def test_a_lock_whose_file_was_removed_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with hold(path, "VM a", "is changing it"):
        path.unlink()
        with hold(path, "VM a", "is changing it"):
            assert path.exists()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(KernelCallError, match="ENOENT"), hold(tmp_path / "a/b", "VM a", "is"):
        pass
