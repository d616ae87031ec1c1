# SPDX-License-Identifier: GPL-2.0-or-later
"""A QEMU process that this process starts, watches and ends.

QEMU is the host's own, unmodified. It is started stopped (-S), with a QMP
socket, in a session of its own: a terminal's Ctrl-C reaches the manager and
not the guest. When the manager dies, QEMU runs on.

The socket is told by a file of -readconfig: with -qmp, or -mon, QEMU would leave
its own default monitor away, such as the one that -nographic has behind Ctrl-A.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Sequence

from kvmbpf.closing import Closing
from kvmbpf.errors import StateError, VmmError
from kvmbpf.mends import mend
from kvmbpf.writing import write_own
from qemu_glue.qmp import QmpSession
from qemu_glue.runtime import RuntimeDir

QEMU_X86_64 = "qemu-system-x86_64"
_POLL_S = 0.01
_CONFIG = """\
[chardev "kvmbpf-qmp"]
  backend = "socket"
  path = "{path}"
  server = "on"
  wait = "off"

[mon "kvmbpf-qmp"]
  chardev = "kvmbpf-qmp"
  mode = "control"
"""


class QemuProcess(Closing):
    """One running QEMU; leaving its context ends it.

    :param arguments: the command line after the program's name; -S and a QMP
        monitor are put before it, whatever it has itself.
    :param runtime: where the QMP socket (`qmp_path`) and QEMU's own output
        (`log_path`) go; stays its owner's.
    :param program: the QEMU to run.
    :param paused: start with -S: the guest runs after QMP's ``cont``.
    :param inherit_stdio: let QEMU have this process's terminal, Ctrl-C included,
        rather than none; there is no log then.
    :raise VmmError: when the program cannot be run.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        runtime: RuntimeDir,
        *,
        program: str = QEMU_X86_64,
        paused: bool = True,
        inherit_stdio: bool = False,
    ) -> None:
        self.program = program
        self.qmp_path = runtime.socket("qmp")
        self.log_path = runtime.path / "qemu.log"
        self.qmp_path.unlink(missing_ok=True)  # a dead QEMU's: not to be mistaken for ours
        config = runtime.path / "qmp.cfg"
        write_own(config, _CONFIG.format(path=self.qmp_path))
        own = ["-readconfig", str(config), *(["-S"] if paused else [])]
        self.command = [program, *own, *arguments]
        self._said_here = inherit_stdio
        try:
            if inherit_stdio:
                self._process = subprocess.Popen(self.command)
            else:
                self._process = self._start_aside()
        except OSError as error:
            what = mend(error.errno) or "install QEMU, or name another one"
            raise VmmError(f"{program}: {error.strerror}; {what}") from error

    def _start_aside(self) -> subprocess.Popen[bytes]:
        with self.log_path.open("wb") as log:
            return subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """QEMU's process id (C ``pid_t``)."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """QEMU's exit status; None while it runs, -N after signal N."""
        return self._process.poll()

    def connect(self, timeout: float = 30.0) -> QmpSession:
        """Wait until QEMU serves its QMP socket and open a session on it.

        :param timeout: for all of it, in seconds.
        :raise VmmError: when QEMU ended (with its last words) or does not
            serve QMP in time.
        """
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            self.check()
            try:
                return QmpSession.connect(self.qmp_path, left)
            except VmmError as error:
                if not isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError):
                    self.check()
                    raise
            time.sleep(_POLL_S)
        raise VmmError(f"{self.program} does not serve {self.qmp_path} in {timeout:g} s")

    def check(self) -> None:
        """Raise when QEMU is not running any more.

        :raise VmmError: then, with its exit status and its last words.
        """
        status = self.returncode
        if status is not None:
            raise VmmError(f"{self.program} {_ending(status)}: {self.last_words()}")

    def last_words(self) -> str:
        """Return the line of QEMU's output that tells why it ended.

        Its last complaint ("program: ..."), since advice may follow; or else
        its last line. What it said on this process's terminal stands there.
        """
        if self._said_here:
            return "if it said why, that stands above"
        lines: list[str] = []
        with contextlib.suppress(FileNotFoundError):
            lines = self.log_path.read_text(errors="replace").strip().splitlines()
        complaints = [line for line in lines if line.startswith(f"{self.program}: ")]
        return (complaints or lines or ["it said nothing"])[-1]

    def wait(self, timeout: float | None) -> int:
        """Wait until QEMU ends and return its exit status (-N: signal N).

        :param timeout: in seconds; None waits on.
        :raise StateError: when it still runs then.
        """
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise StateError(f"QEMU (pid {self.pid}) still runs after {timeout} s") from error

    def send_signal(self, number: int) -> None:
        """Send QEMU a signal; none when it has ended."""
        self._process.send_signal(number)

    def terminate(self, timeout: float = 5.0) -> int:
        """End QEMU by SIGTERM, or by SIGKILL if it does not obey; return its exit status."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                return self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._process.wait()

    def kill(self) -> int:
        """End QEMU by SIGKILL and return its exit status."""
        self._process.kill()
        return self._process.wait()

    def close(self) -> None:
        """End QEMU; closing twice is fine."""
        self.terminate()


def _ending(status: int) -> str:
    if status >= 0:
        return f"exited with {status}"
    return f"was ended by {signal.Signals(-status).name}"
