# SPDX-License-Identifier: GPL-2.0-or-later
"""The address of a UNIX socket: a path of any length, or an abstract name.

The kernel's structure for it holds 108 bytes. A longer path is reached through a
descriptor of the socket's file (/proc/self/fd/N leads to the very file), as a path is
that QEMU was told relative to a deep folder, or that goes through another root. An
abstract name is no file; it is written @name, as `ss` and /proc/net/unix do.

Source: unix_find_bsd(), unix_find_abstract() in net/unix/af_unix.c, v6.12;
unix_connect_saddr() in QEMU's util/qemu-sockets.c (tight, abstract).
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.kernel.rights import user_name
from kvmbpf.model.vm_name import printable

_SUN_PATH = 108
LISTEN = "-qmp unix:PATH,server=on,wait=off"


@dataclass(frozen=True, slots=True)
class AbstractSocket:
    """A UNIX socket that is no file.

    :param name: without the NUL that it begins with.
    """

    name: str

    def __str__(self) -> str:
        return f"@{self.name}"


Address = Path | AbstractSocket


def connect(sock: socket.socket, address: Address) -> None:
    """Connect a UNIX socket.

    :raise OSError: as connect(2), or open(2) on the socket's file.
    """
    if isinstance(address, AbstractSocket):
        _connect_abstract(sock, b"\0" + os.fsencode(address.name))
        return
    path = os.fsencode(address)
    if len(path) < _SUN_PATH:
        sock.connect(path)
        return
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        sock.connect(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def _connect_abstract(sock: socket.socket, name: bytes) -> None:
    if len(name) > _SUN_PATH:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    try:
        sock.connect(name)
    except ConnectionRefusedError:
        sock.connect(name.ljust(_SUN_PATH, b"\0"))  # as with QEMU's tight=off


def why_refused(address: Address, error: OSError) -> str:
    """Say why a socket cannot be connected to, and what helps."""
    said = error.strerror or str(error)
    if isinstance(address, AbstractSocket):
        if isinstance(error, ConnectionRefusedError):
            said += ": nobody in this network namespace listens on it"
        return said
    if isinstance(error, FileNotFoundError):
        return f"{said}; QEMU makes it when it is started with {LISTEN}"
    if isinstance(error, PermissionError):
        return f"{said}: {_owner(address)}"
    if error.errno == errno.EPROTOTYPE:
        return f"{said}: it is a socket of another kind, and none of QMP"
    if isinstance(error, ConnectionRefusedError):
        if not _is_socket(address):
            return f"{said}: it is a file, and no socket"
        return f"{said}: nobody listens on it, its QEMU has ended; start that again with {LISTEN}"
    return said


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return True


def _owner(path: Path) -> str:
    for one in (path, *path.absolute().parents):
        try:
            found = one.stat()
        except OSError:
            continue
        what = "it" if one == path else printable(str(one))
        owner = f"{what} is {user_name(found.st_uid)}'s, mode {found.st_mode & 0o7777:o}"
        return f"{owner}; run as that user, or as root"
    return "run as its user, or as root"
