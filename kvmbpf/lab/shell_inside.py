# SPDX-License-Identifier: GPL-2.0-or-later
"""Inside the lab: run a command on a terminal whose other end is on the host.

``python -m kvmbpf.lab.shell_inside ROWS COLUMNS COMMAND...`` gives the command a
pseudo-terminal of that size as its controlling one, and carries its bytes over
the lab's virtio-serial port. It exits with the command's status; 128 + n when
signal n ended it.
"""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import sys
import termios
from collections.abc import Sequence
from pathlib import Path

from kvmbpf.errors import StateError
from kvmbpf.lab.guest import TTY_PORT
from kvmbpf.lab.twoway import Lane, TwoWay

_PORTS = Path("/sys/class/virtio-ports")
# What the terminal still holds when the command has ended is there already.
_DRAIN_S = 0.1
# A command would inherit what is ignored: `yes | head` would never end, nor Ctrl-C work.
# The first two by Python; the others by a shell, for what it runs in the background.
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT)


def find_port(name: str, ports: Path = _PORTS) -> Path:
    """Return the device of a virtio-serial port.

    :raise StateError: when there is no port of this name.
    """
    for port in ports.glob("*"):
        if (port / "name").read_text(encoding="utf-8").strip() == name:
            return Path("/dev") / port.name
    raise StateError(f"no virtio-serial port {name}: this is not the inside of a lab shell")


def serve(port: int, rows: int, columns: int, command: Sequence[str]) -> int:
    """Run a command on a new terminal until it ends; return its status.

    :param port: descriptor of the terminal's other end; stays the caller's.
    """
    pid, master = pty.fork()
    if pid == 0:
        _become(rows, columns, command)
    ended = os.pidfd_open(pid)
    try:
        for fd in (port, master):
            os.set_blocking(fd, False)
        typed, shown = Lane(port, master), Lane(master, port)
        ways = TwoWay(typed, shown)
        while not ways.step(3600.0, ended):
            continue
        # What the command left in the background may hold the terminal: do not wait for it.
        ways.drain(shown, _DRAIN_S)
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(ended)
        os.close(master)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _become(rows: int, columns: int, command: Sequence[str]) -> None:
    """In the child: set the terminal's size, and become the command."""
    try:
        for signum in _IGNORED:
            signal.signal(signum, signal.SIG_DFL)
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.execvp(command[0], list(command))  # noqa: S606  a shell is what it is to be
    except OSError as error:
        os.write(2, f"kvmbpf: {command[0]}: {error.strerror}\r\n".encode())
    finally:
        os._exit(127)


def main(arguments: Sequence[str]) -> int:
    """Serve the lab's port; return the command's status."""
    rows, columns, *command = arguments
    port = os.open(find_port(TTY_PORT), os.O_RDWR)
    try:
        return serve(port, int(rows), int(columns), command)
    finally:
        os.close(port)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
