# SPDX-License-Identifier: GPL-2.0-or-later
"""The directory of one running VM: its sockets and logs.

Whoever can reach a QMP socket owns the VM, so only the user who started it may
enter the directory.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

from kvmbpf.closing import Closing
from kvmbpf.errors import VmmError

_SOCKET_PATH_MAX = 107  # sun_path, less its final NUL


class RuntimeDir(Closing):
    """A directory, mode 0700, for one VM's sockets and logs.

    :param path: the directory; made when it is not there, and kept. When None,
        a temporary one is made, and removed by `close`.
    :raise VmmError: when others may enter it, or its path is too long for a
        socket's.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._temporary = path is None
        if path is None:
            path = Path(tempfile.mkdtemp(prefix="kvmbpf-", dir=_parent()))
        else:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path.resolve()
        mode = stat.S_IMODE(self.path.stat().st_mode)
        if mode & 0o077:
            raise VmmError(f"{self.path}: others may enter it (mode {mode:04o}); chmod 700 it")

    def socket(self, name: str) -> Path:
        """Return a socket's path in this directory.

        :raise VmmError: when it is longer than a UNIX socket's path may be.
        """
        path = self.path / name
        if len(os.fsencode(path)) > _SOCKET_PATH_MAX:
            raise VmmError(f"{path}: longer than the {_SOCKET_PATH_MAX} bytes of a socket's path")
        return path

    def close(self) -> None:
        """Remove the directory if it is a temporary one."""
        if self._temporary:
            shutil.rmtree(self.path, ignore_errors=True)


def _parent() -> str | None:
    """Return where runtime directories go; None leaves it to TMPDIR and /tmp.

    The run-time directories come first: they are in memory, and a socket does
    not work in a directory shared with another machine (9p), as /tmp may be.
    """
    for candidate in (os.environ.get("XDG_RUNTIME_DIR"), "/run"):
        if candidate and os.access(candidate, os.W_OK | os.X_OK):
            return candidate
    return None
