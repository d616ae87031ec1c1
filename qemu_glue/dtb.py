# SPDX-License-Identifier: GPL-2.0-or-later
"""A device tree that x86 QEMU hands on to a Linux guest.

Problem: QEMU appends the file of -dtb to the kernel and tells the kernel where
it is. Since 10.0 the address is too high by the size of the kernel's setup
part: QEMU appends to the whole file, but loads it without that part. The
kernel finds zeros and knows of no device.
Approach: a file that holds the tree twice, first where the address should
point, then behind a header of its own where it points in fact.
Obsolete when: no QEMU from 10.0 on is in use that was not mended.

Source: x86_load_linux() in QEMU's hw/i386/x86-common.c; struct setup_data in
the kernel's Documentation/arch/x86/boot.rst.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

from kvmbpf.errors import BadFileError, VmmError
from qemu_glue.qmp import QmpSession

_SETUP_SECTORS_OFFSET = 0x1F1
_MAGIC_OFFSET = 0x202
_MAGIC = b"HdrS"
_DEFAULT_SETUP_SECTORS = 4
_SECTOR_BYTES = 512
_SETUP_DTB = 2
_HEADER = struct.Struct("<QII")  # next, type, len
_NO_TREE = re.compile(r"doesn't have an? FDT")  # 7.2, and 10.0


def loadable_dtb(tree: bytes, kernel: Path) -> bytes:
    """Return what to give to -dtb, for a QEMU that is given this kernel.

    :param tree: the device tree, a DTB.
    :param kernel: the guest's bzImage, QEMU's -kernel.
    :raise BadFileError: when the kernel cannot be read, or is no bzImage.
    :raise VmmError: when the tree is larger than the kernel's setup part.
    """
    try:
        with kernel.open("rb") as file:
            head = file.read(_MAGIC_OFFSET + len(_MAGIC))
    except OSError as error:
        raise BadFileError(kernel, f"cannot be read: {error.strerror}") from error
    if not head.endswith(_MAGIC) or len(head) < _MAGIC_OFFSET + len(_MAGIC):
        raise BadFileError(kernel, "no bzImage; QEMU hands a device tree on to nothing else")
    sectors = (head[_SETUP_SECTORS_OFFSET] or _DEFAULT_SETUP_SECTORS) + 1
    room = sectors * _SECTOR_BYTES - _HEADER.size
    if len(tree) > room:
        raise VmmError(f"a device tree of {len(tree)} bytes: -dtb takes {room} with {kernel.name}")
    return tree.ljust(room, b"\0") + _HEADER.pack(0, _SETUP_DTB, len(tree)) + tree


def dump_dtb(qmp: QmpSession, path: Path) -> bool:
    """Have QEMU write the device tree that it made for its machine.

    Machines that are described by one have it, as arm64's virt. Of those of x86 it
    is microvm alone that makes one, which QEMU tells since 11; the others have none.

    :param qmp: a session with it.
    :param path: the file, which QEMU writes as its own user.
    :return: whether the machine has a tree that this QEMU tells.
    :raise VmmError: when QEMU cannot write the file, is too old (7.1 has no such
        command), or went away.
    """
    try:
        qmp.execute("dumpdtb", filename=str(path))
    except VmmError as error:
        if _NO_TREE.search(str(error)):
            return False
        raise
    return True
