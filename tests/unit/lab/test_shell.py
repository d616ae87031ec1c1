# SPDX-License-Identifier: GPL-2.0-or-later
"""A shell's two ends, without a lab between them: the terminal and the bytes."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import socket
import termios
import threading
from pathlib import Path

import pytest

from kvmbpf.errors import StateError
from kvmbpf.lab.shell import RawTerminal
from kvmbpf.lab.shell_inside import find_port, serve
from kvmbpf.lab.twoway import Lane, TwoWay


class Inside:
    """A command served on a terminal, and the test at its other end."""

    def __init__(self, *command: str) -> None:
        self.ours, self._theirs = socket.socketpair()
        self.ours.settimeout(20)
        self.status: int | None = None
        self._command = command
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        self.status = serve(self._theirs.fileno(), 33, 111, self._command)
        self._theirs.close()

    def until(self, text: str) -> str:
        """Read until a text has come."""
        got = ""
        while text not in got:
            data = self.ours.recv(4096)
            assert data, got
            got += data.decode()
        return got

    def end(self) -> int | None:
        """Wait for the command's end; return its status."""
        self._thread.join(20)
        self.ours.close()
        return self.status


def test_the_command_has_a_terminal_of_the_given_size() -> None:
    inside = Inside("sh", "-c", "stty size; tty; exit 3")
    got = inside.until("/dev/pts/")
    assert "33 111" in got
    assert inside.end() == 3


def test_what_is_typed_reaches_the_command_and_ctrl_c_interrupts_it() -> None:
    inside = Inside("cat")
    inside.ours.sendall(b"hello\n")
    inside.until("hello\r\nhello\r\n")
    inside.ours.sendall(b"\x03")
    assert inside.end() == 128 + signal.SIGINT


def test_the_end_of_the_command_is_the_end_whoever_holds_the_terminal() -> None:
    inside = Inside("sh", "-c", "trap '' HUP; sleep 60 & echo left $!; exit 4")
    got = inside.until("\n")
    assert inside.end() == 4
    os.kill(int(got.split("left ")[1].split()[0]), signal.SIGKILL)


def test_all_output_comes_through_before_the_end() -> None:
    inside = Inside("sh", "-c", "seq 20000; exit 0")
    assert inside.until("\n20000\r\n").count("\n") == 20000
    assert inside.end() == 0


def test_the_command_is_ended_by_a_broken_pipe_as_anywhere() -> None:
    inside = Inside("sh", "-c", "grep SigIgn /proc/self/status")
    ignored = int(inside.until("\n").split()[1], 16)
    assert not ignored & 1 << signal.SIGPIPE - 1
    assert inside.end() == 0


def test_a_command_that_is_not_there_is_said_on_the_terminal() -> None:
    inside = Inside("/absent")
    assert "kvmbpf: /absent: No such file or directory" in inside.until("\n")
    assert inside.end() == 127


def test_the_port_is_found_by_its_name(tmp_path: Path) -> None:
    for number, name in enumerate(("kvmbpf.out", "kvmbpf.tty")):
        (tmp_path / f"vport0p{number}").mkdir()
        (tmp_path / f"vport0p{number}/name").write_text(f"{name}\n")
    assert find_port("kvmbpf.tty", tmp_path) == Path("/dev/vport0p1")
    with pytest.raises(StateError, match=r"no virtio-serial port kvmbpf\.no"):
        find_port("kvmbpf.no", tmp_path)


def test_a_terminal_is_raw_until_it_is_closed() -> None:
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    cooked = termios.ISIG | termios.ICANON | termios.ECHO
    raw = RawTerminal(slave)
    with contextlib.suppress(ValueError), raw:
        assert not termios.tcgetattr(slave)[3] & cooked
        raise ValueError("on purpose")
    assert termios.tcgetattr(slave) == before
    raw.close()
    os.close(master)
    os.close(slave)


def test_a_lane_that_is_stuck_does_not_hold_the_other() -> None:
    left, far_left = socket.socketpair()
    right, far_right = socket.socketpair()
    with left, far_left, right, far_right:
        for end in (left, right, far_left, far_right):
            end.setblocking(False)
        ways = TwoWay(Lane(left.fileno(), right.fileno()), Lane(right.fileno(), left.fileno()))
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while True:  # nobody reads at the right
                sent += far_left.send(bytes(4096))
                ways.step(0)
        far_right.sendall(b"back")
        ways.step(1)
        ways.step(1)
        assert far_left.recv(16) == b"back"
        got = 0
        while got < sent:
            with contextlib.suppress(BlockingIOError):
                got += len(far_right.recv(65536))
            ways.step(0)
        assert got == sent


def test_a_lane_ends_with_its_source() -> None:
    left, far_left = socket.socketpair()
    reader, writer = os.pipe()
    with left, far_left:
        lane = Lane(left.fileno(), writer)
        far_left.sendall(b"last words")
        far_left.close()
        TwoWay(lane).drain(lane, 1)
        assert lane.ended
        assert os.read(reader, 64) == b"last words"
    os.close(reader)
    os.close(writer)
