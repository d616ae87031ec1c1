# SPDX-License-Identifier: GPL-2.0-or-later
"""A pipe whose content a thread carries on to a descriptor, or keeps.

QEMU opens what it is given by path, truncates files and cannot open sockets:
it gets pipes, and the thread writes to whatever the caller's descriptor is.
"""

from __future__ import annotations

import os
import threading

from kvmbpf.closing import Closing
from kvmbpf.writing import write_some

_CHUNK = 1 << 16


class Pump(Closing):
    """Own a pipe, and carry what is written to it.

    :param target: descriptor to carry it to, which stays the caller's; None keeps
        it for `text`.

    What the target does not take, as on a full disk, is drained: who writes to the
    pipe is not stopped by it. `error` is why, unless its reader went away.
    """

    def __init__(self, target: int | None) -> None:
        self._reader, self._writer = os.pipe()
        self._target = target
        self._kept: list[bytes] = []
        self.error: OSError | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def writer(self) -> int:
        """The writing end (C ``int``), for a child to inherit; owned by this object."""
        return self._writer

    def begin(self) -> None:
        """Begin to carry: call it when the child has inherited the writing end."""
        os.close(self._writer)
        self._writer = -1
        self._thread.start()

    def finish(self, timeout_s: float = 10.0) -> None:
        """Wait until all was carried: the children that could write have ended."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def text(self) -> str:
        """Return what was kept so far."""
        return b"".join(self._kept).decode("utf-8", "replace").replace("\r", "")

    def close(self) -> None:
        """Close the pipe, after `finish`."""
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1
        self.finish()
        if not self._thread.is_alive() and self._reader >= 0:
            os.close(self._reader)
            self._reader = -1

    def _run(self) -> None:
        gone = False
        while data := os.read(self._reader, _CHUNK):
            if self._target is None:
                self._kept.append(data)
            elif not gone:
                gone = not self._carry(self._target, data)

    def _carry(self, fd: int, data: bytes) -> bool:
        """Write all of it; False when no more can be written."""
        view = memoryview(data)
        try:
            while view:
                view = view[write_some(fd, view) :]
        except BrokenPipeError:  # the reader is gone, which is not our error
            return False
        except OSError as error:
            self.error = error
            return False
        return True
