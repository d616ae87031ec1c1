# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands for the demo guest, over its control port.

The port is the guest's second serial port, a UNIX socket on this side. The
protocol is in guest_driver/control: "SEQ COMMAND" goes in; "SEQ BEGIN", output
and "SEQ EXIT=CODE" come out. SEQ is new for each command and each console, so
that what an earlier one left behind is never taken for an answer.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shlex
import socket
import time
from pathlib import Path

from kvmbpf.closing import Closing
from kvmbpf.errors import VmmError

_COMMAND_MAX = 2048  # bytes; a tty buffers 4096
_READY = b"kvmbpf-guest: ready\n"
_POLL_S = 0.1
_TAIL_LINES = 4


class GuestConsole(Closing):
    """The host's end of the guest's control port; a context manager.

    :param path: the port's UNIX socket, on which QEMU listens.
    :param log_path: the guest's kernel log (ttyS0), quoted in errors.
    :raise VmmError: when nothing listens there.
    """

    def __init__(self, path: Path, log_path: Path | None = None) -> None:
        self.path = path
        self.log_path = log_path
        self._received = b""
        self._token = secrets.token_hex(4)
        self._count = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise VmmError(f"guest's control port {path}: {error.strerror or error}") from error

    def wait_ready(self, timeout: float) -> None:
        """Wait until a booting guest says that it obeys commands.

        For a console that was there before the guest ran; one that comes later
        just runs commands. Nothing is sent before the guest's word: a byte that
        waits in the port when the guest's driver starts holds the interrupt
        line up, and KVM's IO-APIC then never sees an edge on it again.

        :param timeout: in seconds.
        :raise VmmError: when it does not come up in time, or QEMU went away.
        """
        deadline = time.monotonic() + timeout
        while _READY not in self._received:
            left = deadline - time.monotonic()
            if left <= 0 or not self._receive(left):
                raise self._error(f"not ready after {timeout:g} s")

    def run(self, command: str, timeout: float = 120.0) -> str:
        """Run one shell command in the guest and return its output.

        Standard output and error come together. One command at a time: after a
        timeout the guest is still busy with it. A job that the command leaves
        in the background goes on; what it writes later is not seen.

        :param command: one line for ``sh -c``.
        :param timeout: in seconds.
        :raise VmmError: when it exits with other than 0, does not end in time,
            or QEMU went away.
        """
        answer = self._ask(command, timeout)
        if answer is None:
            raise self._error(f"{command!r} did not end within {timeout:g} s")
        output, code = answer
        _require_success(command, output, code)
        return output

    def start(self, command: str) -> GuestJob:
        """Run one shell command in the guest's background and return at once."""
        self._count += 1
        job = GuestJob(self, command, f"/run/job-{self._token}-{self._count}")
        # A session of its own, so that stop() reaches all of it. The exit code's
        # file appears whole: that is what tells that the job ended.
        begin = (
            f"setsid sh -c {shlex.quote(command)} >{job.stem}.out 2>&1 & echo $! >{job.stem}.pid"
        )
        end = f"wait $!; echo $? >{job.stem}.tmp; mv {job.stem}.tmp {job.stem}.exit"
        begun = f"until [ -s {job.stem}.pid ]; do usleep 1000; done"
        self.run(f"{{ {begin}; {end}; }} & {begun}")
        return job

    def post(self, command: str) -> str:
        """Send one shell command and await nothing, as for ``poweroff -f``.

        :return: the number (SEQ) that the answer, if any, will bear.
        :raise VmmError: when the command is not one line of a fair length, or
            QEMU went away.
        """
        line = command.encode()
        if b"\n" in line or len(line) > _COMMAND_MAX:
            raise VmmError(f"guest: a command is one line of at most {_COMMAND_MAX} bytes")
        self._count += 1
        seq = f"{self._token}-{self._count}"
        self._received = b""
        try:
            self._socket.settimeout(None)
            self._socket.sendall(f"{seq} ".encode() + line + b"\n")
        except OSError as error:
            raise self._gone() from error
        return seq

    def close(self) -> None:
        """Let go of the port; closing twice is fine. The guest runs on."""
        self._socket.close()

    def _ask(self, command: str, timeout: float) -> tuple[str, int] | None:
        """Send a command; return its output and exit code, None after `timeout`."""
        deadline = time.monotonic() + timeout
        seq = self.post(command)
        pattern = re.compile(
            rb"%(seq)b BEGIN\n(.*)%(seq)b EXIT=(\d+)\n" % {b"seq": seq.encode()}, re.DOTALL
        )
        while (found := pattern.search(self._received)) is None:
            left = deadline - time.monotonic()
            if left <= 0 or not self._receive(left):
                return None
        return found[1].decode(errors="replace"), int(found[2])

    def _receive(self, timeout: float) -> bool:
        """Take in what came; return False when nothing came within `timeout`."""
        self._socket.settimeout(timeout)
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            return False
        except OSError as error:
            raise self._gone() from error
        if not data:
            raise self._gone()
        self._received += data
        return True

    def _gone(self) -> VmmError:
        return self._error("the guest's control port closed: QEMU ended")

    def _error(self, what: str) -> VmmError:
        """Return an error that quotes the end of what the guest said last."""
        tail = _last_lines(self._received.decode(errors="replace"))
        if self.log_path is not None:
            with contextlib.suppress(OSError):
                tail = _last_lines(self.log_path.read_text(errors="replace")) or tail
        return VmmError(f"guest: {what}; it last said: {tail}" if tail else f"guest: {what}")


class GuestJob:
    """A command that runs in the guest's background; see `GuestConsole.start`."""

    def __init__(self, console: GuestConsole, command: str, stem: str) -> None:
        self.console = console
        self.command = command
        self.stem = stem

    def running(self) -> bool:
        """Tell whether the command has not ended yet."""
        return self.console.run(f"[ -e {self.stem}.exit ] || echo running") != ""

    def wait(self, timeout: float = 120.0) -> str:
        """Wait until the command ended and return its output.

        :param timeout: in seconds.
        :raise VmmError: when it exits with other than 0, does not end in time,
            or QEMU went away.
        """
        code = self._exit_code(timeout)
        output = self.console.run(f"cat {self.stem}.out")
        _require_success(self.command, output, code)
        return output

    def stop(self, timeout: float = 120.0) -> int:
        """End the command and all its children by SIGTERM; return its exit code.

        The code is 143 (128 + SIGTERM) unless it ended before, or otherwise.

        :param timeout: in seconds.
        :raise VmmError: when it does not end in time, or QEMU went away.
        """
        if self.running():
            self.console.run(f"kill -- -$(cat {self.stem}.pid) 2>/dev/null || true")
        return self._exit_code(timeout)

    def _exit_code(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while self.running():
            if time.monotonic() >= deadline:
                raise VmmError(f"guest: {self.command!r} did not end within {timeout:g} s")
            time.sleep(_POLL_S)
        return int(self.console.run(f"cat {self.stem}.exit"))


def _require_success(command: str, output: str, code: int) -> None:
    if code != 0:
        said = _last_lines(output) or "it said nothing"
        raise VmmError(f"guest: {command!r} exited with {code}: {said}")


def _last_lines(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-_TAIL_LINES:])
