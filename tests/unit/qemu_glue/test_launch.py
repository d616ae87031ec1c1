# SPDX-License-Identifier: GPL-2.0-or-later
"""Launching QEMU: a real one, with no machine, so that it needs no KVM."""

from __future__ import annotations

import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmbpf.errors import StateError, VmmError
from qemu_glue.launch import QemuProcess
from qemu_glue.runtime import RuntimeDir

pytestmark = pytest.mark.unit
NO_MACHINE = ["-M", "none", "-nodefaults", "-display", "none"]


@pytest.fixture
def runtime() -> Iterator[RuntimeDir]:
    with RuntimeDir() as directory:
        yield directory


def test_qemu_starts_stopped_and_serves_qmp(runtime: RuntimeDir) -> None:
    with QemuProcess(NO_MACHINE, runtime) as qemu, qemu.connect() as qmp:
        assert qmp.execute("query-status")["status"] == "prelaunch"
        assert qemu.returncode is None


def test_qemu_runs_at_once_when_asked(runtime: RuntimeDir) -> None:
    with QemuProcess(NO_MACHINE, runtime, paused=False) as qemu, qemu.connect() as qmp:
        assert qmp.execute("query-status")["status"] == "running"


def test_leaving_the_context_ends_qemu(runtime: RuntimeDir) -> None:
    with QemuProcess(NO_MACHINE, runtime) as qemu:
        qemu.connect().close()
    assert qemu.returncode is not None
    assert not Path(f"/proc/{qemu.pid}").exists()


def test_quit_is_a_clean_end(runtime: RuntimeDir) -> None:
    with QemuProcess(NO_MACHINE, runtime) as qemu:
        with qemu.connect() as qmp:
            qmp.execute("quit")
        assert qemu.wait(10) == 0


def test_waiting_for_a_running_qemu_ends(runtime: RuntimeDir) -> None:
    with QemuProcess(NO_MACHINE, runtime) as qemu:
        with pytest.raises(StateError, match=f"pid {qemu.pid}.*still runs"):
            qemu.wait(0.05)
        assert qemu.kill() == -signal.SIGKILL
        assert qemu.kill() == -signal.SIGKILL
        with pytest.raises(VmmError, match="ended by SIGKILL"):
            qemu.check()


def test_a_stopped_qemu_is_killed_when_it_does_not_obey(runtime: RuntimeDir) -> None:
    with QemuProcess(NO_MACHINE, runtime) as qemu:
        qemu.connect().close()
        qemu._process.send_signal(signal.SIGSTOP)
        assert qemu.terminate(timeout=0.2) == -signal.SIGKILL


def test_a_missing_program_is_named(runtime: RuntimeDir) -> None:
    with pytest.raises(VmmError, match=r"qemu-system-none: No such file.*install QEMU"):
        QemuProcess(NO_MACHINE, runtime, program="qemu-system-none")


def test_qemus_last_words_are_told(runtime: RuntimeDir) -> None:
    with (
        QemuProcess(["-M", "nonesuch"], runtime) as qemu,
        pytest.raises(VmmError, match=r"exited with 1: .*unsupported machine type"),
    ):
        qemu.connect(10)


def test_a_dead_qemus_socket_is_not_mistaken_for_ours(runtime: RuntimeDir) -> None:
    with QemuProcess(NO_MACHINE, runtime) as first:
        first.connect().close()
        first.kill()
    assert first.qmp_path.exists()
    with QemuProcess(NO_MACHINE, runtime) as second, second.connect() as qmp:
        assert qmp.peer_pid() == second.pid


def test_only_its_user_may_enter_a_runtime_directory(runtime: RuntimeDir) -> None:
    assert stat.S_IMODE(runtime.path.stat().st_mode) == 0o700


def test_a_temporary_runtime_directory_is_removed() -> None:
    with RuntimeDir() as runtime:
        (runtime.path / "log").touch()
    assert not runtime.path.exists()


def test_a_given_runtime_directory_is_made_and_kept(tmp_path: Path) -> None:
    with RuntimeDir(tmp_path / "vm") as runtime:
        assert stat.S_IMODE(runtime.path.stat().st_mode) == 0o700
    assert runtime.path.exists()


def test_a_runtime_directory_open_to_others_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    with pytest.raises(VmmError, match=r"mode 0750.*chmod 700"):
        RuntimeDir(tmp_path)


def test_a_socket_path_that_is_too_long_is_refused(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    with RuntimeDir(deep) as runtime, pytest.raises(VmmError, match="107 bytes"):
        QemuProcess(NO_MACHINE, runtime)
