# SPDX-License-Identifier: GPL-2.0-or-later
"""The file for -dtb: the tree is where QEMU says it is, before and since 10.0."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from kvmbpf.errors import BadFileError, VmmError
from qemu_glue.dtb import loadable_dtb

TREE = b"\xd0\x0d\xfe\xed" + bytes(range(200))


def bzimage(folder: Path, sectors: int) -> Path:
    path = folder / "bzImage"
    path.write_bytes(bytes(0x1F1) + bytes([sectors]) + bytes(64))
    return path


@pytest.mark.parametrize(("sectors", "setup_bytes"), [(27, 28 * 512), (0, 5 * 512)])
def test_the_tree_is_at_both_places(tmp_path: Path, sectors: int, setup_bytes: int) -> None:
    # What lies in the guest behind the kernel: QEMU's header, then the file.
    file = loadable_dtb(TREE, bzimage(tmp_path, sectors))
    memory = struct.pack("<QII", 0, 2, len(file)) + file
    for start in (0, setup_bytes):
        link, kind, length = struct.unpack_from("<QII", memory, start)
        assert (link, kind) == (0, 2)
        assert length >= len(TREE)
        assert memory[start + 16 :].startswith(TREE)


def test_a_tree_that_is_too_large_is_refused(tmp_path: Path) -> None:
    kernel = bzimage(tmp_path, 0)
    room = 5 * 512 - 16
    loadable_dtb(bytes(room), kernel)
    with pytest.raises(VmmError, match=f"{room + 1} bytes"):
        loadable_dtb(bytes(room + 1), kernel)


def test_what_is_no_kernel_is_refused(tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_bytes(b"MZ")
    with pytest.raises(BadFileError, match="too short"):
        loadable_dtb(TREE, short)
    with pytest.raises(BadFileError, match="cannot be read"):
        loadable_dtb(TREE, tmp_path / "absent")
