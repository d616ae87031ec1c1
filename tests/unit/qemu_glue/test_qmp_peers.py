# SPDX-License-Identifier: GPL-2.0-or-later
"""What is at the other end of a QMP socket and is no willing QEMU is told as that.

Real QEMUs where they do it (stopped, frozen, busy, pretty, another kind of socket),
else `tests/fakeqmp.py`. Nothing here asserts a time; a wait without an end would be a
test without one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmbpf.errors import VmmError
from qemu_glue.address import AbstractSocket, Address
from qemu_glue.commandline import CommandLine
from qemu_glue.qmp import ANSWER_S, TIMEOUT, QmpBusyError, QmpSession, time_limit
from qemu_glue.runtime import RuntimeDir
from qemu_glue.vmms import qemu_of
from tests.held import nothing_left
from tests.places import ROOT

pytestmark = pytest.mark.unit
QEMU = ["qemu-system-x86_64", "-M", "none", "-nodefaults", "-display", "none"]
SHORT_S = 0.3
DEEP = "d" * 100


@pytest.fixture
def folder() -> Iterator[Path]:
    with RuntimeDir() as runtime:
        yield runtime.path


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TIMEOUT, str(SHORT_S))


@contextlib.contextmanager
def fake(mode: str, address: Address) -> Iterator[int]:
    """Run a fake peer; give its pid."""
    command = [sys.executable, str(ROOT / "tests" / "fakeqmp.py"), mode, str(address)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield process.pid
        finally:
            process.kill()


@contextlib.contextmanager
def real(cwd: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a real QEMU until it serves `ready` in its folder, and `q` if it is to.

    Which of a monitor's and a serial line's socket comes first depends on its version.
    """
    ready = ["-qmp", "unix:ready,server=on,wait=off"]
    sockets = ["ready", *(["q"] if any("q,server=on" in word for word in arguments) else [])]
    with subprocess.Popen([*QEMU, *arguments, *ready], cwd=cwd) as process:
        try:
            deadline = time.monotonic() + 30
            while not all((cwd / name).exists() for name in sockets):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


def told(path: Address, timeout: float | None = SHORT_S) -> str:
    """Return what is told where no session comes about."""
    with pytest.raises(VmmError) as caught:
        QmpSession.connect(path, timeout).close()
    text = str(caught.value)
    assert text.startswith(f"QMP socket {path}")
    assert text.isprintable(), "one line, and nothing for the terminal"
    assert len(text) < 400
    return text.partition(f"{path}")[2].lstrip(": ")


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGSTOP)
    while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.01)


def test_a_stopped_qemu_is_told_with_the_mend(folder: Path) -> None:
    with real(folder, "-qmp", f"unix:{folder}/q,server=on,wait=off") as qemu:
        stop(qemu)
        mend = f"process {qemu.pid} is stopped: kill -CONT {qemu.pid}"
        assert told(folder / "q") == mend
        # Its queue is full by now; the next one gets not even as far.
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    waiting.connect(str(folder / "q"))
            assert told(folder / "q") == mend


def test_a_qemu_that_is_stopped_in_a_session_is_told(folder: Path, limited: None) -> None:
    with real(folder) as qemu, QmpSession.connect(folder / "ready", 30) as session:
        session.execute("query-status")
        stop(qemu)
        with pytest.raises(VmmError) as caught:
            session.execute("query-status")
        assert str(caught.value) == (
            f"query-status: QMP socket {folder}/ready: no answer within {SHORT_S} s: "
            f"process {qemu.pid} is stopped: kill -CONT {qemu.pid}"
        )
        assert session.next_event(0.05) is None
        # It goes on, and so does the session.
        qemu.send_signal(signal.SIGCONT)
        os.environ[TIMEOUT] = "30"
        assert session.execute("query-status")["running"] is True


def test_a_busy_qemu_is_told_as_busy(folder: Path) -> None:
    with real(folder), QmpSession.connect(folder / "ready", 30):
        with pytest.raises(QmpBusyError):
            QmpSession.connect(folder / "ready", SHORT_S)
        assert told(folder / "ready").startswith("is in use by another client: QEMU did not greet")


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        ("silent", "process PID (NAME) did not greet within 0.3 s; is it a QMP socket?"),
        ("http", "process PID (NAME) did not greet within 0.3 s; is it a QMP socket?"),
        ("nocaps", "process PID (NAME) greeted, and did not answer qmp_capabilities within 0.3 s"),
        ("hmp", "no JSON object: `QEMU 7.2.22 monitor - type 'help' for more information"),
        ("garbage", r"no JSON object: `\x00\x01\x02"),
        ("escapes", r"no JSON object: `\x1b[2J\x1b[31m pwned`; is it a QMP socket?"),
        ("no-utf8", "no JSON: 'utf-8' codec can't decode byte 0xff"),
        ("number", "Did not understand Greeting"),
        ("half", 'it ended in the middle of a message: `{"QMP": {"version":`; is it a QMP'),
        ("closes", "it ended the connection without a word; is it a QMP socket?"),
        ("flood", "no JSON object: `aaaaaaaa"),
        ("flood-in-object", 'more than 10 MiB in one message: `{"QMP": "aaaaa'),
        ("deep", 'more than 1024 brackets in one another: `{"QMP": [[[['),
        ("refuses", "Negotiation failed"),
    ],
)
def test_who_is_no_qmp_is_told(folder: Path, mode: str, sentence: str) -> None:
    waits = SHORT_S if "within" in sentence else 60
    with fake(mode, folder / "q") as pid, nothing_left():
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        said = told(folder / "q", waits)
        assert sentence.replace("PID", str(pid)).replace("NAME", name) in said


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        ("greetonly", "within 0.3 s from process PID (NAME); KVMBPF_QMP_TIMEOUT=SECONDS gives it"),
        ("wrong-id", "no answer within 0.3 s, but one to something else; is it QEMU?"),
        ("no-id", "no answer within 0.3 s"),
        ("error-without-id", "Server sent an error response without an ID"),
        ("later-garbage", r"no JSON object: `\xff\xfe`; that is no QMP"),
        ("later-half", "it ended in the middle of a message"),
        ("later-deep", "more than 1024 brackets in one another"),
        ("later-closes", "went away before it answered"),
        ("bad-error", ""),
        ("neither", ""),
        ("escape-error", "QEMU refused it"),
    ],
)
def test_who_gives_no_answer_is_told(folder: Path, limited: None, mode: str, sentence: str) -> None:
    with fake(mode, folder / "q") as pid, nothing_left():
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        with QmpSession.connect(folder / "q", 60) as session, pytest.raises(VmmError) as caught:
            session.execute("query-version")
        said = str(caught.value)
        assert said.startswith("query-version: ")
        assert sentence.replace("PID", str(pid)).replace("NAME", name) in said
        assert len(said) < 500


@pytest.mark.parametrize("mode", ["pretty", "events", "crowded"])
def test_messages_may_be_spread_and_mixed_in_any_way(folder: Path, mode: str) -> None:
    right = {"pretty": {"asked": "query-version"}, "events": "late", "crowded": '}{"\\'}
    with (
        fake(mode, folder / "q"),
        nothing_left(),
        QmpSession.connect(folder / "q", 60) as session,
    ):
        for _ in range(3):
            assert session.execute("query-version") == right[mode]
        events = [event["event"] for event in session.events()]
        assert events == ["RESUME"] * {"pretty": 3, "events": 6, "crowded": 2}[mode]


@pytest.mark.parametrize(
    "arguments",
    [
        ["-qmp-pretty", "unix:q,server=on,wait=off"],
        [
            *("-chardev", "socket,id=c,path=q,server=on,wait=off"),
            *("-mon", "chardev=c,mode=control,pretty=on"),
        ],
    ],
)
def test_a_qemu_that_writes_pretty_is_understood(folder: Path, arguments: list[str]) -> None:
    with real(folder, *arguments), QmpSession.connect(folder / "q", 30) as session:
        assert "FlatView" in session.hmp("info mtree -f")
        schema = session.execute("query-qmp-schema")
        assert len(schema) > 100
        session.execute("stop")
        assert session.wait_event("STOP", 30)["event"] == "STOP"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["-M", "q35", "-accel", "tcg", "-S", "-serial", "unix:{}/q,server=on,wait=off"],
            "that is what -serial is for",
        ),
        (
            [
                *("-M", "q35", "-accel", "tcg", "-S", "-device", "virtio-serial"),
                *("-chardev", "socket,id=a,path={}/q,server=on,wait=off"),
                *("-device", "virtserialport,chardev=a,name=org.qemu.guest_agent.0"),
            ],
            "that is the guest agent's, which does not greet",
        ),
    ],
)
def test_another_socket_of_a_qemu_is_told(
    folder: Path, arguments: list[str], sentence: str
) -> None:
    with real(folder, *(word.format(folder) for word in arguments)) as qemu:
        assert told(folder / "q") == (
            f"process {qemu.pid} (qemu-system-x86) did not greet within {SHORT_S} s; {sentence}"
        )


def test_the_human_monitor_is_told(folder: Path) -> None:
    with real(folder, "-monitor", f"unix:{folder}/q,server=on,wait=off"):
        assert "monitor - type 'help' for more information" in told(folder / "q", 30)


def test_a_path_of_any_length_is_reached(folder: Path) -> None:
    deep = folder / DEEP / DEEP
    deep.mkdir(parents=True)
    long_name = "s" * 100
    with real(deep, "-qmp", f"unix:{long_name},server=on,wait=off") as qemu:
        for name in ("ready", long_name):
            assert len(str(deep / name)) > 200
            with nothing_left(), QmpSession.connect(deep / name, 30) as session:
                assert session.peer_pid() == qemu.pid
        found = qemu_of(qemu.pid)
        assert found is not None
        assert found.qmp_sockets() == [deep / long_name, deep / "ready"]
    assert told(deep / "ready").startswith("Connection refused: nobody listens on it")
    assert told(deep / "absent").startswith("No such file or directory; QEMU makes it when")


@pytest.mark.parametrize("options", ["abstract=on", "abstract=on,tight=off"])
def test_an_abstract_socket_is_reached(folder: Path, options: str) -> None:
    address = AbstractSocket(f"kvmbpf-test-{os.getpid()}-{len(options)}")
    with real(folder, "-qmp", f"unix:{address.name},{options},server=on,wait=off") as qemu:
        deadline = time.monotonic() + 30
        while address.name not in Path("/proc/net/unix").read_text():
            assert time.monotonic() < deadline
        with QmpSession.connect(address, 30) as session:
            assert session.peer_pid() == qemu.pid
            with pytest.raises(QmpBusyError):
                QmpSession.connect(address, SHORT_S)
        found = qemu_of(qemu.pid)
        assert found is not None
        assert found.qmp_sockets()[0] == address
    assert told(address) == "Connection refused: nobody in this network namespace listens on it"


def test_an_abstract_socket_that_is_silent_is_told() -> None:
    address = AbstractSocket(f"kvmbpf-test-{os.getpid()}")
    with fake("silent", address) as pid:
        assert told(address).startswith(f"process {pid} ")


def test_an_abstract_name_that_is_too_long() -> None:
    assert told(AbstractSocket("x" * 200)) == "File name too long"


def test_who_takes_no_connection_is_told(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "q"))
        server.listen(5)
        assert told(folder / "q") == (
            f"process {os.getpid()} ({Path('/proc/self/comm').read_text().strip()}) did not take "
            f"the connection within {SHORT_S} s; KVMBPF_QMP_TIMEOUT=SECONDS gives it longer"
        )


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_a_socket_of_another_kind(folder: Path, kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_UNIX, kind) as server:
        server.bind(str(folder / "q"))
        assert "it is a socket of another kind" in told(folder / "q")


def test_a_file_and_a_folder_are_no_sockets(folder: Path) -> None:
    (folder / "file").touch()
    for path in (folder / "file", folder):
        assert told(path) == "Connection refused: it is a file, and no socket"
    assert told(folder / "file/q") == "Not a directory"
    (folder / "loop").symlink_to("loop")
    assert told(folder / "loop") == "Too many levels of symbolic links"


def test_whose_a_socket_is_that_may_not_be_used_is_told(folder: Path) -> None:
    """Asked by another user, who may enter the folder and not write to the socket."""
    outside = Path(tempfile.gettempdir()) / f"kvmbpf-{os.getpid()}"
    outside.mkdir()
    outside.chmod(0o755)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(outside / "q"))
            (outside / "q").chmod(0o600)
            server.listen()
            code = (
                "import os, sys; from pathlib import Path\n"
                "from qemu_glue.qmp import QmpSession, VmmError\n"
                "os.setgroups([]); os.setresuid(65534, 65534, 65534)\n"
                "try: QmpSession.connect(Path(sys.argv[1]))\n"
                "except VmmError as error: print(error)\n"
            )
            done = subprocess.run(
                [sys.executable, "-c", code, str(outside / "q")],
                capture_output=True,
                text=True,
                check=True,
            )
        assert done.stdout == (
            f"QMP socket {outside}/q: Permission denied: it is root's, mode 600; run as that user, "
            "or as root\n"
        )
    finally:
        (outside / "q").unlink()
        outside.rmdir()


def test_a_session_is_closed_though_the_peer_takes_nothing(folder: Path, limited: None) -> None:
    """What was sent fills the connection; the end does not wait for it to be taken."""
    with real(folder) as qemu, nothing_left():
        session = QmpSession.connect(folder / "ready", 30)
        stop(qemu)
        with pytest.raises(VmmError, match="is stopped"):
            session.execute("human-monitor-command", command_line="x" * (4 << 20))
        session.close()
        session.close()


def test_ctrl_c_ends_a_wait(folder: Path) -> None:
    with fake("silent", folder / "q"), nothing_left():
        threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt):
            QmpSession.connect(folder / "q", 600)


@pytest.mark.parametrize(("text", "seconds"), [("", ANSWER_S), ("0.5", 0.5), ("60", 60.0)])
def test_the_time_limit_is_the_users(
    monkeypatch: pytest.MonkeyPatch, text: str, seconds: float
) -> None:
    monkeypatch.setenv(TIMEOUT, text)
    assert time_limit(ANSWER_S) == seconds


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon", "1e9", "5s", "\x1b"])
def test_a_time_limit_that_is_none(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(TIMEOUT, text)
    with pytest.raises(VmmError, match="not a number of seconds from") as caught:
        time_limit(ANSWER_S)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("-qmp unix:a,abstract=on,server=on", [AbstractSocket("a")]),
        ("-qmp unix:a,abstract=off,server=on", [Path("a")]),
        ("-qmp unix:a,server,nowait,abstract", [AbstractSocket("a")]),
        (
            "-chardev socket,id=c,path=a,,b,abstract=on -mon chardev=c,mode=control",
            [AbstractSocket("a,b")],
        ),
        ("-qmp chardev:c -chardev socket,id=c,path=/a,server=on", [Path("/a")]),
        ("-qmp chardev:none", []),
        ("-qmp unix:,server=on", []),
    ],
)
def test_addresses_of_a_command_line(text: str, addresses: list[Address]) -> None:
    assert CommandLine(["qemu", *text.split()]).qmp_sockets() == addresses


@pytest.mark.parametrize(
    ("text", "use"),
    [
        ("-monitor unix:/q,server=on", "that is what -monitor is for, the human monitor"),
        ("-chardev socket,id=c,path=/q -mon c", "that is a human monitor (-mon without mode="),
        ("-chardev socket,id=c,path=/q -device isa-serial,chardev=c", "that is a isa-serial's"),
        ("-chardev socket,id=c,path=/q", ""),
        ("-chardev socket,id=c,path=/q,abstract=on -device isa-serial,chardev=c", ""),
    ],
)
def test_what_a_socket_is_for(text: str, use: str) -> None:
    found = CommandLine(["qemu", *text.split()]).use_of_socket("/q")
    assert found.startswith(use)
    assert bool(found) == bool(use)
