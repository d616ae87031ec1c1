# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the lab keeps its kernels, and the lock that keeps two builds apart."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kvmbpf.errors import LabError


def cache_folder() -> Path:
    """Return the cache folder: $KVMBPF_CACHE, else kvmbpf in the user's cache."""
    own = os.environ.get("KVMBPF_CACHE")
    if own:
        return Path(own).absolute()
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache") / "kvmbpf"


def make_cache_folder() -> Path:
    """Create the cache folder, readable by its owner only, and return it.

    :raise LabError: when it cannot be created.
    """
    folder = cache_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(f"{folder}: cannot make the cache folder ({error.strerror})") from error
    return folder


@contextmanager
def build_lock(on_wait: Callable[[], None], name: str = "lock") -> Iterator[None]:
    """Hold the lock under which kernels are built; the kernel drops it if we die.

    :param on_wait: called once when another process holds it.
    :param name: of the lock's file; another for what is not a kernel.
    :raise LabError: when the lock file cannot be opened.
    """
    path = make_cache_folder() / name
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LabError(f"{path}: cannot open the lock ({error.strerror})") from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
