# SPDX-License-Identifier: GPL-2.0-or-later
"""A terminal of our own for a program that wants one, and what it showed there."""

from __future__ import annotations

import os
import pty
import re
import struct
import termios
import threading
from fcntl import ioctl

from kvmbpf.closing import Closing

_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>78])")
_KEPT_BYTES = 1 << 16


class Screen(Closing):
    """A pseudo-terminal whose end is kept.

    :param lines: its height.
    :param columns: its width.
    """

    def __init__(self, lines: int = 50, columns: int = 132) -> None:
        self._master, self._slave = pty.openpty()
        ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._kept = b""
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def slave(self) -> int:
        """The terminal (C ``int``), for a child to inherit; owned by this object."""
        return self._slave

    def begin(self) -> None:
        """Begin to read: call it when the child has inherited the terminal."""
        os.close(self._slave)
        self._slave = -1
        self._thread.start()

    def finish(self, timeout_s: float = 10.0) -> None:
        """Wait until all was read: the children that could write have ended."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def text(self) -> str:
        """Return the end of what was shown, without what moves the cursor and the like."""
        text = self._kept.decode("utf-8", "replace").replace("\r", "")
        return _ESCAPES.sub("", text)

    def close(self) -> None:
        """Close the terminal, when no child has it any more; closing twice is fine."""
        if self._slave >= 0:
            os.close(self._slave)
            self._slave = -1
        self.finish()
        if not self._thread.is_alive() and self._master >= 0:
            os.close(self._master)
            self._master = -1

    def _run(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:
                return  # EIO: nobody has the terminal open any more
            if not data:
                return
            self._kept = (self._kept + data)[-_KEPT_BYTES:]
