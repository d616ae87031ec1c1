# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo guest's files: read back by busybox's cpio, built by a real make."""

from __future__ import annotations

import gzip
import stat
import subprocess
from pathlib import Path

import pytest

from kvmbpf.demo.guest_files import GUEST_INIT, build_initramfs, build_module
from kvmbpf.errors import LabError
from kvmbpf.lab.cpio import CpioEntry, write_cpio

pytestmark = pytest.mark.unit


def read_back(archive: bytes, *arguments: str) -> bytes:
    """Return what busybox's cpio, an independent reader, says of an archive."""
    done = subprocess.run(
        ["busybox", "cpio", *arguments], input=archive, capture_output=True, check=True
    )
    return done.stdout


def names_of(archive: bytes) -> list[str]:
    return read_back(archive, "-t").decode().splitlines()


def content_of(archive: bytes, name: str) -> bytes:
    return read_back(archive, "-i", "--to-stdout", name)


@pytest.mark.parametrize("size", range(9))
def test_content_of_any_length_is_kept(size: int) -> None:
    data = bytes(range(1, size + 1))
    archive = write_cpio([CpioEntry.file("first", data), CpioEntry.file("second", b"end")])
    assert names_of(archive) == ["first", "second"]
    assert content_of(archive, "first") == data
    assert content_of(archive, "second") == b"end"


@pytest.mark.parametrize("length", range(1, 9))
def test_a_name_of_any_length_is_kept(length: int) -> None:
    name = "n" * length
    archive = write_cpio([CpioEntry.file(name, b"x"), CpioEntry.directory("last")])
    assert names_of(archive) == [name, "last"]


def test_a_record_is_laid_out_as_the_kernel_reads_it() -> None:
    archive = write_cpio([CpioEntry.char_device("console", 5, 1)])
    fields = [archive[6 + 8 * i : 14 + 8 * i] for i in range(13)]
    assert archive[:6] == b"070701"
    assert int(fields[1], 16) == stat.S_IFCHR | 0o600
    assert (int(fields[9], 16), int(fields[10], 16)) == (5, 1)
    assert int(fields[11], 16) == len("console") + 1
    assert archive[110:118] == b"console\0"


@pytest.mark.parametrize(
    "entries",
    [
        [CpioEntry.file("/absolute", b"")],
        [CpioEntry.file("", b"")],
        [CpioEntry.file("TRAILER!!!", b"")],
        [CpioEntry.file("twice", b""), CpioEntry.file("twice", b"")],
        [CpioEntry.file("missing/file", b"")],
        [CpioEntry.file("plain", b""), CpioEntry.file("plain/file", b"")],
    ],
)
def test_an_archive_that_would_not_unpack_is_refused(entries: list[CpioEntry]) -> None:
    with pytest.raises(ValueError, match="cpio: "):
        write_cpio(entries)


def test_the_initramfs_has_init_busybox_and_the_modules(tmp_path: Path) -> None:
    module = tmp_path / "some.ko"
    module.write_bytes(b"module")
    archive = gzip.decompress(build_initramfs(tmp_path / "out.gz", [module]).read_bytes())
    assert {"init", "control", "bin/busybox", "dev/console", "lib/modules/some.ko"} <= set(
        names_of(archive)
    )
    assert content_of(archive, "init") == GUEST_INIT.read_bytes()
    assert content_of(archive, "lib/modules/some.ko") == b"module"


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    first = build_initramfs(tmp_path / "first.gz").read_bytes()
    assert build_initramfs(tmp_path / "second.gz").read_bytes() == first


def test_a_module_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"gone\.ko: No such file"):
        build_initramfs(tmp_path / "out.gz", [tmp_path / "gone.ko"])


def test_two_modules_of_one_name_are_refused(tmp_path: Path) -> None:
    module = tmp_path / "some.ko"
    module.write_bytes(b"module")
    with pytest.raises(LabError, match="same name"):
        build_initramfs(tmp_path / "out.gz", [module, module])


def test_a_dynamically_linked_busybox_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"not statically linked; install busybox-static"):
        build_initramfs(tmp_path / "out.gz", busybox=Path("/bin/ls"))


def test_an_unfinished_kernel_build_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"no Module\.symvers"):
        build_module(tmp_path, tmp_path / "out")


def test_a_failed_build_tells_the_compilers_first_error(tmp_path: Path) -> None:
    # Not a kernel's headers: the real source meets a real compiler, which refuses it.
    (tmp_path / "Module.symvers").touch()
    (tmp_path / "Makefile").write_text("modules:\n\t$(CC) -c $(M)/demo_main.c -o /dev/null\n")
    with pytest.raises(LabError, match=r"demo_main\.c:\d+:\d+: fatal error: linux/") as caught:
        build_module(tmp_path, tmp_path / "out")
    assert "\n" not in str(caught.value)
