# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the lab keeps its kernels, and the locks over them.

    kernels/KEY       a kernel; locked shared, as a folder, by who uses it
    parts/KEY         what demo guests need beside one
    build-KEY.log     what make said
    lock, parts.lock  held by who makes a kernel, or parts

The kernel drops a lock when the last process that holds it dies.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kvmbpf.caches import user_cache
from kvmbpf.errors import LabError
from kvmbpf.mends import OF_ANY_CALL, explain
from kvmbpf.writing import write_own


def cache_folder() -> Path:
    """Return the cache folder: $KVMBPF_CACHE, else kvmbpf in the user's cache.

    :raise UnsupportedError: when the user has no home, nor said where it is.
    """
    return user_cache()


def make_cache_folder() -> Path:
    """Create the cache folder, readable by its owner only, and return it.

    :raise LabError: when it cannot be created.
    """
    folder = cache_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(
            f"{folder}: cannot make the cache folder ({error.strerror}); {_mend(error)}"
        ) from error
    return folder


def _mend(error: OSError) -> str:
    another = "set KVMBPF_CACHE to a folder that you may write to"
    return OF_ANY_CALL.get(error.errno or 0, another)


def write_stamp(path: Path, text: str) -> None:
    """Write what says that something in the cache is finished, whole or not at all.

    :raise LabError: when it cannot be written.
    """
    try:
        write_own(path, text)
    except OSError as error:
        raise LabError(f"{path}: {explain(error)}") from error


def kernels_folder() -> Path:
    """Return the folder that holds the kernels, which may not exist yet."""
    return cache_folder() / "kernels"


def parts_folder() -> Path:
    """Return the folder that holds demo guests' parts, which may not exist yet."""
    return cache_folder() / "parts"


def build_log(key: str) -> Path:
    """Return the log of a kernel's last build, which may not exist."""
    return cache_folder() / f"build-{key}.log"


def build_logs() -> list[Path]:
    """Return the logs of all builds."""
    return sorted(cache_folder().glob("build-*.log"))


def log_key(log: Path) -> str:
    """Return the key of the kernel that a log is about."""
    return log.stem.removeprefix("build-")


@contextmanager
def build_lock(on_wait: Callable[[], None], name: str = "lock") -> Iterator[int]:
    """Hold the lock under which kernels are built; gives its descriptor (C ``int``).

    :param on_wait: called once when another process holds it; what it raises
        ends the wait.
    :param name: of the lock's file; another for what is not a kernel.
    :raise LabError: when the lock file cannot be opened.
    """
    path = make_cache_folder() / name
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LabError(
            f"{path}: cannot open the lock ({error.strerror}); {_mend(error)}"
        ) from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    finally:
        os.close(fd)


@contextmanager
def in_use(kernel: Path) -> Iterator[None]:
    """Keep a kernel's folder from being removed by `kvmbpf lab clean`.

    :param kernel: the folder.
    :raise LabError: when it is not there any more.
    """
    with _opened(kernel) as fd:
        fcntl.flock(fd, fcntl.LOCK_SH)
        yield


@contextmanager
def unused(kernel: Path) -> Iterator[bool]:
    """Tell whether nobody uses a kernel's folder, and keep others from it meanwhile.

    :param kernel: the folder.
    :raise LabError: when it is not there any more.
    """
    with _opened(kernel) as fd:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise LabError(f"{folder}: cannot use this kernel ({error.strerror})") from error
    try:
        yield fd
    finally:
        os.close(fd)
