# SPDX-License-Identifier: GPL-2.0-or-later
"""A lock on a file, whose holder is known by its process.

The kernel lets go of it however its holder ends. The file says who took it last,
with the time of its start; that is who has it while it is taken, but for the moment
before its new holder has written, in which nobody is named.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from kvmbpf.errors import StateError
from kvmbpf.kernel.process import ProcessId, own_process
from kvmbpf.kernel.rights import refused

_RETRY_S = 0.02
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class HeldError(StateError):
    """Another process holds the lock."""


@contextlib.contextmanager
def hold(
    path: Path, subject: str | Callable[[], str], doing: str, patience_s: float = 0.0
) -> Iterator[None]:
    """Hold a lock, or refuse; the file may be removed while nobody does.

    :param path: the file, in a folder that exists.
    :param subject: what it is about, as ``VM a``; or what says it, if it takes a while.
    :param doing: what its holder does, as ``is changing it``.
    :param patience_s: how long to wait for another process to let go of it, in seconds.
    :raise HeldError: when another process still holds it then; it is named.
    :raise KernelCallError: when the file cannot be opened.
    """
    deadline = time.monotonic() + patience_s
    with contextlib.ExitStack() as stack:
        while True:
            try:
                fd = os.open(path, _FLAGS, 0o600)
            except OSError as error:
                raise refused("open", path, error) from error
            stack.callback(os.close, fd)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    about = subject if isinstance(subject, str) else subject()
                    raise HeldError(f"{about}: {_holder(fd)} {doing}") from error
                stack.close()
                time.sleep(_RETRY_S)
                continue
            # Who had it may have removed the file after we had opened it.
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == os.fstat(fd).st_ino:
                    break
        # On a full disk it is held without a name: to detach must be possible there.
        with contextlib.suppress(OSError):
            own = own_process()
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{own.pid} {own.start_ticks}\n".encode(), 0)
        yield


def holder(path: Path) -> int | None:
    """Return the process that holds a lock, or None when nobody does.

    :raise KernelCallError: when the file cannot be opened.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise refused("open", path, error) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid(fd) or 0
    finally:
        os.close(fd)
    return None


def _pid(fd: int) -> int | None:
    """Return the process that a lock's file names, if it lives; an old kvmbpf has no start."""
    words = os.pread(fd, 64, 0).decode("ascii", "replace").split()
    if not words or not all(word.isdecimal() for word in words):
        return None
    found = ProcessId(int(words[0]), int(words[1]) if len(words) > 1 else None)
    return found.pid if found.lives() else None


def _holder(fd: int) -> str:
    pid = _pid(fd)
    return "another kvmbpf" if pid is None else f"another kvmbpf, process {pid},"
