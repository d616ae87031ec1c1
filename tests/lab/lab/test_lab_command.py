# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab's command on a real boot: a shell on a terminal, and boots that hang."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path

import pytest

pytestmark = pytest.mark.on_host
LAB = (sys.executable, "-m", "kvmbpf", "lab")
_BOOT_S = 180.0


class Terminal:
    """A terminal with ``kvmbpf lab shell`` on it, and the test as its user."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 97, 0, 0))
        self.mode = termios.tcgetattr(self.slave)
        self.shown = ""
        os.set_blocking(self.master, False)
        self.process = subprocess.Popen(
            [*LAB, "shell"],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env=os.environ | {"SHELL": "/bin/sh", "TERM": "vt100"},
            start_new_session=True,
        )

    def until(self, text: str, *, seen: str = "", timeout_s: float = _BOOT_S) -> None:
        """Wait until the terminal has shown a text, after another one that it has shown."""
        deadline = time.monotonic() + timeout_s
        while text not in (self.shown.partition(seen)[2] if seen else self.shown):
            assert time.monotonic() < deadline, self.shown
            with contextlib.suppress(BlockingIOError):
                self.shown += os.read(self.master, 65536).decode(errors="replace")
            time.sleep(0.05)

    def type(self, text: str) -> None:
        """Type on the terminal."""
        os.write(self.master, text.encode())

    def close(self) -> None:
        """End what runs on it, and the terminal."""
        self.process.terminate()
        self.process.wait(60)
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    found = Terminal()
    yield found
    found.close()


def test_a_shell_in_the_lab(terminal: Terminal) -> None:
    terminal.type("echo release-$(uname -r); stty size; echo $TERM\n")
    terminal.until("-kvmbpf\r\n")
    terminal.until("31 97")
    terminal.until("vt100")
    terminal.type("echo sleeps-$((1 + 1)); sleep 600\n")
    terminal.until("sleeps-2")
    terminal.type("\x03")
    # A terminal drops what was typed when it interrupts: wait for the prompt.
    terminal.until("^C")
    terminal.until("# ", seen="^C")
    terminal.type("echo alive-$((40 + 2))\n")
    terminal.until("alive-42")
    assert not termios.tcgetattr(terminal.slave)[3] & termios.ISIG, "raw while the shell runs"
    terminal.type("exit 3\n")
    assert terminal.process.wait(60) == 3
    assert termios.tcgetattr(terminal.slave) == terminal.mode


def test_a_shell_that_is_told_to_end_gives_the_terminal_back(terminal: Terminal) -> None:
    terminal.type("echo here-$((1 + 1))\n")
    terminal.until("here-2")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.process.wait(60) == 128 + signal.SIGTERM
    assert termios.tcgetattr(terminal.slave) == terminal.mode


def _hangs(*arguments: str) -> str:
    done = subprocess.run(
        [*LAB, "run", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 18, done.stderr
    return done.stderr


def test_a_boot_that_takes_too_long_ends_with_its_console() -> None:
    said = _hangs("--boot-timeout", "1", "--", "true")
    assert "the lab did not boot within 1 s" in said


def test_a_command_that_takes_too_long_ends_with_the_console(tmp_path: Path) -> None:
    said = _hangs("--timeout", "20", "--rw", str(tmp_path), "--", "sleep", "600")
    assert "the command did not end within 20 s; its console ended with:\n" in said
    assert len(said.splitlines()) > 5
