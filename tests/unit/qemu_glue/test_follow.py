# SPDX-License-Identifier: GPL-2.0-or-later
"""Following a real QEMU, stopped and without KVM: resets, ends, lost connections."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmbpf.errors import KernelCallError, VmmError
from qemu_glue.follow import Happening, LivingProcess, follow
from qemu_glue.launch import QemuProcess
from qemu_glue.qmp import QmpSession
from qemu_glue.runtime import RuntimeDir
from tests.held import nothing_left

pytestmark = pytest.mark.unit


class Proxy:
    """Something between QEMU's QMP socket and its client, which can break."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self._target = target
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(os.fspath(path))
        self._server.listen()
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._server.accept()[0]
                qemu = socket.socket(socket.AF_UNIX)
                qemu.connect(os.fspath(self._target))
                self._ends += [client, qemu]
                for one, other in ((client, qemu), (qemu, client)):
                    threading.Thread(target=_pass_on, args=(one, other), daemon=True).start()

    def break_connections(self) -> None:
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._ends = []

    def close(self) -> None:
        with contextlib.suppress(OSError):  # closed before
            self._server.shutdown(socket.SHUT_RDWR)  # a thread that accepts keeps it open
        self._server.close()
        self.break_connections()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def runtime() -> Iterator[RuntimeDir]:
    with RuntimeDir() as found:
        yield found


@pytest.fixture
def qemu(runtime: RuntimeDir) -> Iterator[QemuProcess]:
    """Give a QEMU with a second QMP socket, the test's own."""
    other = f"unix:{runtime.socket('other')},server=on,wait=off"
    arguments = ["-M", "q35", "-accel", "tcg", "-nodefaults", "-display", "none", "-qmp", other]
    with QemuProcess(arguments, runtime) as process:
        process.connect().close()
        yield process


@pytest.fixture
def other(qemu: QemuProcess, runtime: RuntimeDir) -> Iterator[QmpSession]:
    with QmpSession.connect(runtime.socket("other")) as session:
        yield session


@pytest.fixture
def process(qemu: QemuProcess) -> Iterator[LivingProcess]:
    with LivingProcess(qemu.pid) as found:
        yield found


def test_resets_and_the_end_are_told(
    qemu: QemuProcess, other: QmpSession, process: LivingProcess
) -> None:
    with contextlib.closing(follow(process, qemu.qmp_path, qemu.connect())) as happenings:
        other.execute("system_reset")
        assert next(happenings) is Happening.RESET
        other.execute("system_reset")
        assert next(happenings) is Happening.RESET
        other.execute("quit")
        assert next(happenings) is Happening.SHUTDOWN
        assert list(happenings) == []
        assert qemu.wait(10) == 0


def test_other_events_are_passed_over(
    qemu: QemuProcess, other: QmpSession, process: LivingProcess
) -> None:
    with contextlib.closing(follow(process, qemu.qmp_path, qemu.connect())) as happenings:
        for command in ("cont", "stop", "system_reset"):
            other.execute(command)
        assert next(happenings) is Happening.RESET


def test_a_killed_qemu_ends_it_without_a_word(qemu: QemuProcess, process: LivingProcess) -> None:
    with contextlib.closing(follow(process, qemu.qmp_path, qemu.connect())) as happenings:
        qemu.kill()
        assert list(happenings) == []


def test_a_lost_connection_is_made_anew(
    qemu: QemuProcess, other: QmpSession, process: LivingProcess, runtime: RuntimeDir
) -> None:
    proxy = Proxy(runtime.socket("proxy"), qemu.qmp_path)
    with (
        contextlib.closing(proxy),
        contextlib.closing(
            follow(process, proxy.path, QmpSession.connect(proxy.path))
        ) as happenings,
    ):
        other.execute("system_reset")
        assert next(happenings) is Happening.RESET
        proxy.break_connections()
        assert next(happenings) is Happening.LOST
        assert next(happenings) is Happening.BACK
        other.execute("system_reset")
        assert next(happenings) is Happening.RESET
        # And when QEMU ends while there is no connection:
        proxy.close()
        assert next(happenings) is Happening.LOST
        qemu.kill()
        assert list(happenings) == []


def test_the_first_connection_must_be_made(
    qemu: QemuProcess, process: LivingProcess, runtime: RuntimeDir
) -> None:
    with pytest.raises(VmmError, match="No such file"):
        next(follow(process, runtime.path / "absent"))


def test_a_qemu_that_has_ended_is_not_followed(qemu: QemuProcess, process: LivingProcess) -> None:
    session = qemu.connect()
    qemu.kill()
    assert list(follow(process, qemu.qmp_path, session)) == []


def test_a_process_lives_until_it_ends(qemu: QemuProcess, process: LivingProcess) -> None:
    assert process.lives()
    assert not process.wait(0.01)
    os.kill(qemu.pid, signal.SIGKILL)
    assert process.wait(10)
    assert not process.lives()
    process.close()
    process.close()


def test_a_process_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KernelCallError, match=r"pidfd_open\(4194304\): ESRCH"):
        LivingProcess(1 << 22)


def test_following_leaves_nothing_behind(
    qemu: QemuProcess, other: QmpSession, process: LivingProcess
) -> None:
    with nothing_left():
        for _ in range(3):
            with contextlib.closing(follow(process, qemu.qmp_path, qemu.connect())) as happenings:
                other.execute("system_reset")
                assert next(happenings) is Happening.RESET
            qemu.connect().close()  # the socket is free
