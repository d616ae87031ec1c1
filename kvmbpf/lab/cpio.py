# SPDX-License-Identifier: GPL-2.0-or-later
"""cpio archives for a kernel's initramfs.

Writes the "newc" format (magic 070701), the one that Linux unpacks at boot.
The same entries give the same bytes: owner and time are zero, inode numbers
count from 1. Device nodes are only entries, so no privilege is needed.

Source: Documentation/driver-api/early-userspace/buffer-format.rst (v6.12).
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass

_TRAILER = "TRAILER!!!"


@dataclass(frozen=True)
class CpioEntry:
    """One file of an archive.

    :param name: path inside the archive, without a leading slash.
    :param mode: file type and permissions (C ``mode_t``).
    :param data: a regular file's content, or a symbolic link's target.
    :param device: a device node's major and minor number.
    """

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)

    @classmethod
    def directory(cls, name: str) -> CpioEntry:
        """Return a directory's entry, mode 0755."""
        return cls(name, stat.S_IFDIR | 0o755)

    @classmethod
    def file(cls, name: str, data: bytes, *, executable: bool = False) -> CpioEntry:
        """Return a regular file's entry, mode 0755 or 0644."""
        return cls(name, stat.S_IFREG | (0o755 if executable else 0o644), data)

    @classmethod
    def char_device(cls, name: str, major: int, minor: int) -> CpioEntry:
        """Return a character device's entry, mode 0600."""
        return cls(name, stat.S_IFCHR | 0o600, device=(major, minor))


def write_cpio(entries: Iterable[CpioEntry]) -> bytes:
    """Return the archive of `entries`, in their order; parents come first.

    :raise ValueError: when a name is absolute, empty or given twice, or its
        parent directory does not come before it.
    """
    archive = bytearray()
    directories = {""}
    names: set[str] = set()
    for inode, entry in enumerate(entries, start=1):
        _check_name(entry, names, directories)
        names.add(entry.name)
        if stat.S_ISDIR(entry.mode):
            directories.add(entry.name)
        archive += _record(entry, inode)
    archive += _record(CpioEntry(_TRAILER, 0), 0)
    return bytes(archive)


def _check_name(entry: CpioEntry, names: set[str], directories: set[str]) -> None:
    if not entry.name or entry.name.startswith("/") or entry.name == _TRAILER:
        raise ValueError(f"cpio: {entry.name!r} is not a relative path")
    if entry.name in names:
        raise ValueError(f"cpio: {entry.name!r} is there twice")
    if entry.name.rpartition("/")[0] not in directories:
        raise ValueError(f"cpio: the directory of {entry.name!r} must come before it")


def _record(entry: CpioEntry, inode: int) -> bytes:
    name = entry.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (
        inode,
        entry.mode,
        0,  # uid
        0,  # gid
        links,
        0,  # mtime
        len(entry.data),
        0,  # device of the archive's file, major and minor
        0,
        *entry.device,
        len(name),
        0,  # checksum, not used by this magic
    )
    header = b"070701" + b"".join(b"%08x" % field for field in fields)
    return _padded(header + name) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
