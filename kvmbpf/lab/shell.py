# SPDX-License-Identifier: GPL-2.0-or-later
"""An interactive shell in the lab, on the user's own terminal.

The terminal becomes raw once the lab has booted: each key goes to the guest,
whose terminal makes of Ctrl-C what it always is. Until then Ctrl-C ends the lab.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import termios
import time
import tty
from contextlib import ExitStack
from typing import Any

from kvmbpf.closing import Closing
from kvmbpf.lab.boot import LabResult, LabRun
from kvmbpf.lab.kernel import LabKernel
from kvmbpf.lab.twoway import Lane, TwoWay

# QEMU has ended by then: its end of the socket is closed.
_DRAIN_S = 1.0


class RawTerminal(Closing):
    """A terminal in raw mode, until this is closed.

    :param fd: descriptor of the terminal; stays the caller's.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._before: list[Any] | None = termios.tcgetattr(fd)
        # Not TCSAFLUSH: what was typed ahead is the shell's.
        tty.setraw(fd, termios.TCSADRAIN)

    def close(self) -> None:
        """Give the terminal its old mode back; closing twice is fine."""
        if self._before is not None:
            before, self._before = self._before, None
            termios.tcsetattr(self._fd, termios.TCSADRAIN, before)


class _Session:
    """Carry keys and output between the terminal and the lab, once it has booted."""

    def __init__(self, end: socket.socket, stdin: int, stdout: int, stack: ExitStack) -> None:
        end.setblocking(False)
        self.run: LabRun | None = None
        self._stdin = stdin
        self._stack = stack
        self._raw = False
        self._shown = Lane(end.fileno(), stdout)
        self._ways = TwoWay(Lane(stdin, end.fileno()), self._shown)

    def idle(self, seconds: float) -> None:
        """Let time pass: what `LabRun.wait` calls."""
        if self.run is None or not self.run.booted():
            time.sleep(seconds)
            return
        if not self._raw:
            self._stack.enter_context(RawTerminal(self._stdin))
            self._raw = True
        self._ways.step(seconds)

    def drain(self) -> None:
        """Show what came last."""
        self._ways.drain(self._shown, _DRAIN_S)


def run_shell(
    kernel: LabKernel,
    *,
    stdin: int = 0,
    stdout: int = 1,
    cpus: int | None = None,
    memory: str | None = None,
    boot_timeout_s: float | None = None,
) -> LabResult:
    """Boot the lab and run the user's shell in it, on a terminal.

    :param stdin: descriptor of the terminal; stays the caller's.
    :param stdout: descriptor that the terminal's output goes to; stays the caller's.
    :raise KvmBpfError: see `LabRun`.
    """
    size = os.get_terminal_size(stdin)
    shell = os.environ.get("SHELL") or "sh"
    if shutil.which(shell) is None:
        shell = "sh"
    inside = [sys.executable, "-m", "kvmbpf.lab.shell_inside", str(size.lines), str(size.columns)]
    ours, theirs = socket.socketpair()
    with ours, theirs, ExitStack() as stack:
        session = _Session(ours, stdin, stdout, stack)
        run = LabRun(
            kernel,
            [*inside, shell],
            cpus=cpus,
            memory=memory,
            boot_timeout_s=boot_timeout_s,
            environment={"TERM": os.environ.get("TERM", "linux")},
            terminal=theirs.fileno(),
        )
        with run:
            # From here on QEMU alone holds the lab's end: it closes with QEMU.
            theirs.close()
            session.run = run
            result = run.wait(idle=session.idle)
            session.drain()
    return result
