# SPDX-License-Identifier: GPL-2.0-or-later
"""One run of Bochs, from its start to its end; what the guest says is read meanwhile.

Bochs has a session and a terminal of its own: nothing of it is on the user's, and no
Ctrl-C goes there. It dies with this process, and is ended by `BochsRun.close`.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from kvmbpf.closing import Closing
from kvmbpf.errors import LabError, StateError
from kvmbpf.lab.bochs import CONSOLE, LOG, RESULTS, Bochs, lacks_display
from kvmbpf.lab.screen import Screen

_DIES_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")
_WORDS = re.compile(r"^Bochs is exiting with the following message:\n(.*)$", re.MULTILINE)
_VERSION = re.compile(r"\bBochs x86 Emulator (\S+)")
_NO_DISPLAY = "display library 'term' not available"
# Of these curses would take the terminal's size.
_DROPPED = ("LINES", "COLUMNS")


class BochsRun(Closing):
    """One run; a context manager that ends it.

    :param bochs: what to run.
    :param folder: where its disk image lies, and where it writes.
    :param cpus: how many CPUs the guest has.
    """

    def __init__(self, bochs: Bochs, folder: Path, *, cpus: int) -> None:
        self.folder = folder
        self._command = bochs.configure(folder, cpus)
        self._stack = ExitStack()
        self._screen: Screen | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; returns at once.

        :raise StateError: when it was started before.
        """
        if self._process is not None:
            raise StateError("this run of Bochs was started before")
        self._screen = self._stack.enter_context(Screen())
        self._process = _start(self._command, self.folder, self._screen.slave)
        self._screen.begin()

    def running(self) -> bool:
        """Tell whether it runs.

        :raise StateError: when it was not started.
        """
        if self._process is None:
            raise StateError("this run of Bochs was not started")
        return self._process.poll() is None

    def results(self) -> str:
        """Return the whole lines that came from the guest's second serial port so far."""
        text = _read(self.folder / RESULTS)
        return text[: text.rfind("\n") + 1]

    def console(self) -> str:
        """Return what the guest's kernel wrote to its console so far."""
        return _read(self.folder / CONSOLE)

    def version(self) -> str:
        """Return its name and version, or nothing where its log does not tell them."""
        found = _VERSION.search(_read(self.folder / LOG))
        return f"Bochs {found[1]}" if found else ""

    def last_words(self) -> str:
        """Return what Bochs said when it ended by itself, or how it ended.

        :raise UnsupportedError: when it has no display library.
        """
        if self._screen is None or self._process is None:
            return ""
        self._screen.finish()
        text = self._screen.text()
        if _NO_DISPLAY in text:
            raise lacks_display()
        found = _WORDS.search(text)
        if found:
            return found[1].strip()
        status = self._process.returncode or 0
        return f"died of signal {-status}" if status < 0 else f"exit status {status}"

    def close(self) -> None:
        """End it if it runs; closing twice is fine."""
        if self._process is not None:
            _end(self._process)
        self._stack.close()


def _start(command: Sequence[str], folder: Path, terminal: int) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if name not in _DROPPED}
    try:
        return subprocess.Popen(
            [*_DIES_WITH_PARENT, *command],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            cwd=folder,
            env=environment | {"TERM": "vt100"},
            start_new_session=True,
        )
    except OSError as error:
        raise LabError(f"{command[0]}: cannot be run ({error.strerror})") from error


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        # Bochs has nothing to put in order, and its terminal's library catches SIGTERM.
        process.kill()
        process.wait()
    # What a wrapper around it may have left.
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").replace("\r", "")
    except OSError:
        return ""
