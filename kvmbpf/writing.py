# SPDX-License-Identifier: GPL-2.0-or-later
"""Write a file whole or not at all, whatever has its name already.

A regular file is replaced by a rename, so that nobody sees half of it. What is no
regular file must not be replaced, or root's ``-o /dev/null`` would leave a machine
without one: it is written into. A name that the user gave is followed through its
links, as any program does; a name in a folder of our own never is.

| under the name | what becomes of it |
| --- | --- |
| nothing, or a link to nothing | the file is made, its mode by umask |
| a regular file | replaced; it keeps its mode, and its owner where that may be set |
| one whose folder takes no new file | overwritten where it is, once there is room for all |
| a descriptor of this process, as /dev/stdout | written to, where it stands |
| a character device, a FIFO | written into |
| a directory, a socket | refused |
| a block device | refused: a file there would cost a file system, and nothing else |
| what another user left in a folder that all may write to | refused, links as well |

Other hard links of a replaced file keep the old content: they were not named.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from kvmbpf.errors import BadFileError
from kvmbpf.mends import explain

# What is left by a process that was killed in the middle, for whoever sweeps.
PARTIAL = ".partial"

_MOST_LINKS = 40  # as the kernel has it
_DESCRIPTORS = re.compile(r"/proc/(?P<pid>\d+)(?:/task/\d+)?/fd")
# The rename is not possible, though the file itself may be written.
_NO_NEW_FILE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY)


def write_output(path: Path, content: bytes) -> None:
    """Write what the user asked for under the name that they gave.

    :param path: that name; it may be a link, a device, a FIFO, or /dev/stdout.
    :raise BadFileError: when it cannot be written; then nothing has changed, except
        for what a device or a FIFO has taken.
    """
    try:
        place = _follow(path)
        number = _own_descriptor(place)
        if number is not None:
            _write_and_close(os.dup(number), content)
        else:
            _write_at(place, content)
    except OSError as error:
        raise BadFileError(path, f"cannot be written: {explain(error)}") from error


def write_own(path: Path, content: str | bytes) -> None:
    """Write a file of a folder that is ours only; a link of its name is replaced.

    :param content: text goes out as UTF-8.
    :raise OSError: when it cannot be written, with its name; then nothing has changed.
    """
    try:
        _create(path, content.encode() if isinstance(content, str) else content)
    except OSError as error:
        error.filename = os.fspath(path)  # write(2) has no name to tell, others the temporary's
        raise


def _follow(path: Path) -> Path:
    """Return what a name stands for: no link, or a descriptor, or nothing yet."""
    for _ in range(_MOST_LINKS):
        folder = Path(os.path.realpath(path.parent, strict=True))
        place = folder / path.name
        if _DESCRIPTORS.fullmatch(str(folder)):
            return place  # a link to where it once was opened, if it has a name at all
        try:
            found = place.lstat()
        except FileNotFoundError:
            return place
        if not stat.S_ISLNK(found.st_mode):
            return place
        _check_owner(found, folder)
        path = folder / place.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _own_descriptor(place: Path) -> int | None:
    """Return the number of this process's descriptor that a path names, or None.

    To open it anew would begin at the start of a file, and fail for a socket.
    """
    match = _DESCRIPTORS.fullmatch(str(place.parent))
    own = match is not None and int(match["pid"]) == os.getpid()
    return int(place.name) if own and place.name.isdecimal() else None


def _write_at(place: Path, content: bytes) -> None:
    """Write a file, or into what is there; `place` is no link but a descriptor's."""
    try:
        mode = place.stat().st_mode
    except FileNotFoundError:
        _create(place, content)
        return
    if stat.S_ISREG(mode) and _DESCRIPTORS.fullmatch(str(place.parent)):
        # Another process's: its folder takes no file, and the link is the kernel's.
        _write_and_close(os.open(place, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC), content)
    elif stat.S_ISREG(mode):
        _replace(place, content)
    elif stat.S_ISDIR(mode):
        _refuse(errno.EISDIR)
    elif stat.S_ISBLK(mode):
        _refuse(errno.EINVAL, "a block device; write to a file, and copy that there")
    elif stat.S_ISSOCK(mode):
        _refuse(errno.ENXIO, "a socket, expected a file, a FIFO or a device")
    else:
        _write_and_close(os.open(place, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC), content)


def _create(place: Path, content: bytes) -> None:
    with _beside(place) as (temporary, fd):
        _write_all(fd, content)
        temporary.replace(place)


def _replace(place: Path, content: bytes) -> None:
    """Replace a regular file that may be written to, or overwrite it."""
    # Not waiting, and not following: it may have become something else just now.
    old = os.open(place, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(old)
        if not stat.S_ISREG(found.st_mode):
            _refuse(errno.EAGAIN, "it is being replaced by another process")
        _check_owner(found, place.parent)
        try:
            with _beside(place) as (temporary, fd):
                _write_all(fd, content)
                _take_after(fd, found)
                temporary.replace(place)
        except OSError as error:
            if error.errno not in _NO_NEW_FILE:
                raise
            _overwrite(old, found.st_size, content)
    finally:
        os.close(old)


def _overwrite(fd: int, size: int, content: bytes) -> None:
    """Overwrite a file once the file system has room for all of the content."""
    try:
        os.posix_fallocate(fd, 0, max(len(content), 1))
    except OSError:
        os.ftruncate(fd, size)
        raise
    _write_all(fd, content)
    os.ftruncate(fd, len(content))


def _take_after(fd: int, found: os.stat_result) -> None:
    """Give a new file the owner and the mode of the one that it replaces.

    Where the group cannot be kept, its rights are not: they would be another group's.
    """
    mode = found.st_mode & 0o777
    own = os.fstat(fd)
    with contextlib.suppress(PermissionError):
        if own.st_uid != found.st_uid:
            os.fchown(fd, found.st_uid, -1)
    if own.st_gid != found.st_gid:
        try:
            os.fchown(fd, -1, found.st_gid)
        except PermissionError:
            mode &= ~0o070
    os.fchmod(fd, mode)


def _check_owner(found: os.stat_result, folder: Path) -> None:
    """Refuse what another user put into a folder that everybody may write to.

    As the kernel does under fs.protected_symlinks and fs.protected_regular, which
    not every host has on.
    """
    around = folder.stat()
    shared = around.st_mode & stat.S_ISVTX and around.st_mode & stat.S_IWOTH
    if shared and found.st_uid not in (os.geteuid(), around.st_uid):
        what = "a link" if stat.S_ISLNK(found.st_mode) else "a file"
        _refuse(
            errno.EACCES,
            f"{what} of user {found.st_uid} in {folder}, where everybody may write; "
            "remove it, or write elsewhere",
        )


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[tuple[Path, int]]:
    """Make a new file in a file's folder; whoever has renamed it keeps it.

    :return: its path, and its descriptor (C ``int``).
    """
    temporary = path.parent / f".kvmbpf-{os.urandom(8).hex()}{PARTIAL}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o666)
    try:
        yield temporary, fd
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)


def _write_and_close(fd: int, content: bytes) -> None:
    try:
        _write_all(fd, content)
    finally:
        os.close(fd)


def _write_all(fd: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[write_some(fd, left) :]


def write_some(fd: int, content: bytes | memoryview) -> int:
    """Write what a descriptor takes at once; return how many bytes that were.

    Waits also where somebody else has set it non-blocking, as a terminal's may be.

    :param fd: (C ``int``), still the caller's.
    :raise OSError: when it cannot be written to.
    """
    while True:
        try:
            return os.write(fd, content)
        except BlockingIOError:
            ready = select.poll()
            ready.register(fd, select.POLLOUT)
            ready.poll()


def _refuse(code: int, words: str = "") -> NoReturn:
    raise OSError(code, words or os.strerror(code))
