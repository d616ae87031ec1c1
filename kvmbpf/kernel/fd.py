# SPDX-License-Identifier: GPL-2.0-or-later
"""File descriptors with one owner.

A descriptor that kvmbpf holds is an `OwnedFd`: closed once, by its owner, and
an error to use afterwards. Library code below never passes bare integers about
except into a system call.
"""

from __future__ import annotations

import os

from kvmbpf.closing import Closing
from kvmbpf.errors import StateError


class OwnedFd(Closing):
    """Own one file descriptor: close it once, refuse its use afterwards.

    :param fd: an open descriptor (C ``int``); this object owns it from now on.
    :param name: what it is, for error messages.
    """

    def __init__(self, fd: int, name: str = "file descriptor") -> None:
        if fd < 0:
            raise ValueError(f"{name}: {fd} is not a descriptor")
        self._fd: int | None = fd
        self.name = name

    def fileno(self) -> int:
        """Return the descriptor (C ``int``), still owned by this object.

        :raise StateError: when it was closed.
        """
        if self._fd is None:
            raise StateError(f"{self.name} is closed")
        return self._fd

    @property
    def closed(self) -> bool:
        """Tell whether the descriptor was closed or given away."""
        return self._fd is None

    def release(self) -> int:
        """Give the descriptor away: the caller owns and closes it."""
        fd = self.fileno()
        self._fd = None
        return fd

    def close(self) -> None:
        """Close the descriptor; closing twice is fine."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def __repr__(self) -> str:
        state = "closed" if self._fd is None else str(self._fd)
        return f"<{type(self).__name__} {self.name}: {state}>"
