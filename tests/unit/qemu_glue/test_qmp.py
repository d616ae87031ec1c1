# SPDX-License-Identifier: GPL-2.0-or-later
"""QMP sessions with a real QEMU that has no machine, so that it needs no KVM."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmbpf.errors import StateError, VmmError
from qemu_glue.launch import QemuProcess
from qemu_glue.qmp import QmpSession
from qemu_glue.runtime import RuntimeDir
from tests.held import nothing_left

pytestmark = pytest.mark.unit


@pytest.fixture
def qemu() -> Iterator[QemuProcess]:
    with (
        RuntimeDir() as runtime,
        QemuProcess(["-M", "none", "-nodefaults", "-display", "none"], runtime) as process,
    ):
        process.connect().close()
        yield process


@pytest.fixture
def qmp(qemu: QemuProcess) -> Iterator[QmpSession]:
    with qemu.connect() as session:
        yield session


def test_the_peer_is_qemu(qemu: QemuProcess, qmp: QmpSession) -> None:
    assert qmp.peer_pid() == qemu.pid


def test_an_underscore_in_an_arguments_name_becomes_a_hyphen(qmp: QmpSession) -> None:
    assert "VM status: paused" in qmp.execute("human-monitor-command", command_line="info status")


def test_the_human_monitor_answers(qmp: QmpSession) -> None:
    assert "FlatView" in qmp.hmp("info mtree -f")


def test_what_qemu_refuses_is_told(qmp: QmpSession) -> None:
    with pytest.raises(VmmError, match="no-such-command: QEMU refused it"):
        qmp.execute("no-such-command")
    assert qmp.execute("query-status")["running"] is False


def test_an_event_is_waited_for_and_others_stay_queued(qmp: QmpSession) -> None:
    qmp.execute("cont")
    qmp.execute("stop")
    assert qmp.wait_event("STOP", 10)["event"] == "STOP"
    assert qmp.wait_event("RESUME", 10)["event"] == "RESUME"
    qmp.execute("cont")
    qmp.execute("stop")
    assert qmp.wait_event("STOP", 10)["event"] == "STOP"
    assert [event["event"] for event in qmp.events()] == ["RESUME"]
    assert qmp.events() == []


def test_an_event_that_does_not_come_is_told(qmp: QmpSession) -> None:
    with pytest.raises(VmmError, match=r"no SHUTDOWN event within 0\.05 s"):
        qmp.wait_event("SHUTDOWN", 0.05)
    assert qmp.execute("query-status")["running"] is False


def test_a_second_client_is_told_that_the_socket_is_in_use(
    qemu: QemuProcess, qmp: QmpSession
) -> None:
    with pytest.raises(VmmError, match="in use by another client"):
        QmpSession.connect(qemu.qmp_path, timeout=0.2)
    assert qmp.execute("query-status")["running"] is False


def test_a_third_client_is_told_so_too(qemu: QemuProcess, qmp: QmpSession) -> None:
    """The second one fills the queue; no one else gets as far."""
    with socket.socket(socket.AF_UNIX) as second:
        second.connect(str(qemu.qmp_path))
        with pytest.raises(VmmError, match="in use by another client"):
            QmpSession.connect(qemu.qmp_path, timeout=0.2)
    assert qmp.execute("query-status")["running"] is False


def test_the_next_client_is_served_after_the_first(qemu: QemuProcess, qmp: QmpSession) -> None:
    qmp.close()
    with QmpSession.connect(qemu.qmp_path) as second:
        assert second.execute("query-status")["running"] is False


def test_a_killed_qemu_is_noticed(qemu: QemuProcess, qmp: QmpSession) -> None:
    qemu.kill()
    with pytest.raises(VmmError, match="QEMU went away before the SHUTDOWN event"):
        qmp.wait_event("SHUTDOWN", 10)
    with pytest.raises(VmmError, match=r"query-status: QEMU on .* is gone"):
        qmp.execute("query-status")
    qmp.close()


def test_qemu_killed_during_a_command_is_noticed(qemu: QemuProcess, qmp: QmpSession) -> None:
    def ask_for_ever() -> None:
        while True:
            qmp.execute("query-status")

    threading.Timer(0.2, qemu.kill).start()
    with pytest.raises(VmmError, match=r"query-status: QEMU on .* (is gone|went away)"):
        ask_for_ever()


def test_a_closed_session_is_refused(qmp: QmpSession) -> None:
    qmp.close()
    qmp.close()
    with pytest.raises(StateError, match="is closed"):
        qmp.execute("query-status")


def test_a_socket_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(VmmError, match=r"none\.sock: No such file"):
        QmpSession.connect(tmp_path / "none.sock")


def test_a_killed_qemus_socket_is_refused(qemu: QemuProcess) -> None:
    qemu.kill()
    with pytest.raises(VmmError, match="Connection refused"):
        QmpSession.connect(qemu.qmp_path)


@pytest.mark.parametrize("greeting", [b"SSH-2.0\r\n", b'{"hello": 1}\n', b""])
def test_what_is_not_qmp_is_told(greeting: bytes) -> None:
    with RuntimeDir() as runtime, socket.socket(socket.AF_UNIX) as server:
        path = runtime.socket("other")
        server.bind(os.fspath(path))
        server.listen()

        def answer() -> None:
            with server.accept()[0] as peer:
                peer.sendall(greeting)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(VmmError, match="is it a QMP socket") as caught:
            QmpSession.connect(path, timeout=10)
        thread.join()
    assert "\n" not in str(caught.value)


def test_sessions_leave_no_descriptor_and_no_thread(qemu: QemuProcess, tmp_path: Path) -> None:
    with nothing_left():
        for _ in range(3):
            with qemu.connect() as session:
                session.execute("query-status")
                with pytest.raises(VmmError):
                    QmpSession.connect(qemu.qmp_path, timeout=0.1)
            with pytest.raises(VmmError):
                QmpSession.connect(tmp_path / "none.sock")
        qemu.kill()
        with pytest.raises(VmmError):
            QmpSession.connect(qemu.qmp_path)
