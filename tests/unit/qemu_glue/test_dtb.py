# SPDX-License-Identifier: GPL-2.0-or-later
"""The file for -dtb: the tree is where QEMU says it is, before and since 10.0."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmbpf.errors import BadFileError, VmmError
from qemu_glue.dtb import dump_dtb, loadable_dtb
from qemu_glue.launch import QemuProcess
from qemu_glue.occupied import ask_what_it_is
from qemu_glue.qmp import QmpSession
from qemu_glue.runtime import RuntimeDir

TREE = b"\xd0\x0d\xfe\xed" + bytes(range(200))


def bzimage(folder: Path, sectors: int) -> Path:
    path = folder / "bzImage"
    path.write_bytes(bytes(0x1F1) + bytes([sectors]) + bytes(16) + b"HdrS" + bytes(64))
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
    wrong = tmp_path / "wrong"
    for content in (b"MZ", b"\x7fELF" + bytes(4096), bytes(0x202) + b"Hdr"):
        wrong.write_bytes(content)
        with pytest.raises(BadFileError, match="no bzImage; QEMU hands a device tree on to"):
            loadable_dtb(TREE, wrong)
    with pytest.raises(BadFileError, match="cannot be read"):
        loadable_dtb(TREE, tmp_path / "absent")


@contextlib.contextmanager
def x86(machine: str) -> Iterator[tuple[QmpSession, Path]]:
    """Give a session with a QEMU, and where to write its machine's tree."""
    arguments = ["-M", machine, "-accel", "tcg", "-nodefaults", "-display", "none"]
    with (
        RuntimeDir() as runtime,
        QemuProcess(arguments, runtime) as qemu,
        qemu.connect() as qmp,
    ):
        yield qmp, runtime.path / "machine.dtb"


@pytest.mark.parametrize("machine", ["q35", "pc", "none"])
def test_machines_with_acpi_only_have_no_tree(machine: str) -> None:
    with x86(machine) as (qmp, path):
        assert dump_dtb(qmp, path) is False
        assert not path.exists()


@pytest.mark.parametrize("options", ["", ",acpi=off", ",ioapic2=off"])
def test_microvm_tells_its_tree_from_qemu_11_on(options: str) -> None:
    with x86(f"microvm{options}") as (qmp, path):
        tells = int(ask_what_it_is(qmp).version.split(".")[0]) >= 11
        assert dump_dtb(qmp, path) is tells
        assert path.exists() is tells
        if tells:
            assert b"linux,microvm" in path.read_bytes()
            assert b"intel,ce4100-ioapic" in path.read_bytes()


def test_a_machine_that_has_a_tree_writes_it() -> None:
    arguments = ["-M", "virt", "-cpu", "cortex-a57", "-nodefaults", "-display", "none"]
    with (
        RuntimeDir() as runtime,
        QemuProcess(arguments, runtime, program="qemu-system-aarch64") as qemu,
        qemu.connect() as qmp,
    ):
        path = runtime.path / "machine.dtb"
        assert dump_dtb(qmp, path) is True
        assert path.read_bytes().startswith(b"\xd0\x0d\xfe\xed")
        with pytest.raises(VmmError, match="dumpdtb: QEMU refused it"):
            dump_dtb(qmp, runtime.path / "absent" / "machine.dtb")
