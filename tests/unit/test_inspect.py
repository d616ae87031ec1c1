# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf inspect``, as a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kvmbpf.compile import compile_shipped
from kvmbpf.elffile import ElfImage
from kvmbpf.objfile import NOTE_SECTION, read_object

ROOT = Path(__file__).resolve().parents[2]


def kvmbpf(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kvmbpf", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_table(demo_v1: Path) -> None:
    done = kvmbpf("inspect", demo_v1)
    assert (done.returncode, done.stderr) == (0, "")
    info = read_object(demo_v1)
    read, write = info.programs
    assert [line.split(maxsplit=1) for line in done.stdout.splitlines()[:3]] == [
        ["device", "demo"],
        ["compatible", "kvmbpf,demo"],
        ["version", "1"],
    ]
    assert "mmio  0x1000 bytes  read kvmbpf_read  write kvmbpf_write" in done.stdout
    assert f"{read.name}  {read.instructions} instructions" in done.stdout
    assert f"{write.name}  {write.instructions} instructions" in done.stdout
    for variable in info.state:
        assert f"{variable.name}  8 bytes  .bss" in done.stdout


def test_json(demo_v1: Path) -> None:
    done = kvmbpf("inspect", "--json", demo_v1)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == read_object(demo_v1).to_json()


def test_ports_are_called_so(tmp_path: Path) -> None:
    device = compile_shipped("bench/bench_pio", tmp_path)
    done = kvmbpf("inspect", device)
    assert (done.returncode, done.stderr) == (0, "")
    assert "pio  0x4 ports  read kvmbpf_read  write kvmbpf_write" in done.stdout
    region = json.loads(kvmbpf("inspect", "--json", device).stdout)["device"]["regions"][0]
    assert (region["bus"], region["size"]) == ("pio", 4)


def test_readme_shows_what_is_printed(demo_v1: Path) -> None:
    """But for instruction counts, which vary with clang."""
    readme = (ROOT / "kvmbpf" / "devices" / "demo" / "README.md").read_text()
    shown = readme.partition("kvmbpf inspect demo_v1.bpf.o\n")[2].partition("```")[0]
    printed = kvmbpf("inspect", demo_v1).stdout
    count = re.compile(r"\d+(?= instructions)")
    assert count.sub("N", shown) == count.sub("N", printed)


def refused(path: Path, reason: str) -> None:
    for options in ([], ["--json"]):
        done = kvmbpf("inspect", *options, path)
        assert done.returncode == 15
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith(f"kvmbpf: {path}")
        assert reason in done.stderr


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such file"),
        (b"", "empty, expected an ELF file"),
        (b"#!/bin/sh\n", "not an ELF file"),
        (b"\x7fELF", "ELF header ends here"),
        (b"\x7fELF" + bytes(100), "ELF class 0"),
    ],
)
def test_file_that_is_no_object(content: bytes | None, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "file.o"
    if content is not None:
        path.write_bytes(content)
    refused(path, reason)


def test_directory(tmp_path: Path) -> None:
    refused(tmp_path, "a directory, expected an ELF file")


def test_program_of_the_host() -> None:
    refused(Path("/bin/true").resolve(), "expected EM_BPF")


@pytest.mark.parametrize(
    ("offset", "content", "reason"),
    [
        (0x0C, b"OTHERS", 'offset 0xc: note owner "OTHERS"'),
        (0x14, b"\x09", "offset 0x14: note format 9, this kvmbpf reads format 1"),
        (0x2C, b"d" * 32, "offset 0x2c: name: string not terminated"),
        (0x94, bytes(8), "offset 0x94: region 0: size 0"),
        (0x9C, b"kvmbpf_rood", "offset 0x9c: region 0: program kvmbpf_rood is named here"),
    ],
)
def test_broken_note(
    offset: int, content: bytes, reason: str, demo_v1: Path, tmp_path: Path
) -> None:
    section = ElfImage(demo_v1).section(NOTE_SECTION)
    assert section is not None
    data = bytearray(demo_v1.read_bytes())
    start = section.offset + offset
    data[start : start + len(content)] = content
    path = tmp_path / "broken.o"
    path.write_bytes(data)
    refused(path, reason)


def test_no_file_given() -> None:
    done = kvmbpf("inspect")
    assert done.returncode == 2
    assert "Missing argument 'FILE'" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_privileged_layer_is_imported(demo_v1: Path) -> None:
    code = (
        "import sys; from kvmbpf.cli import cli; "
        "cli.main(['inspect', sys.argv[1]], standalone_mode=False); "
        "import kvmbpf.placement, kvmbpf.firmware.acpi, kvmbpf.firmware.dt; "
        "print(*sorted(name for name in sys.modules if name.startswith('kvmbpf')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(demo_v1)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    modules = done.stdout.splitlines()[-1].split()
    assert "kvmbpf.objfile" in modules
    privileged = ("fd", "ioctl", "kvm", "libbpf", "uapi", "backends", "manager")
    for name in privileged:
        layer = f"kvmbpf.{name}"
        assert not [module for module in modules if f"{module}.".startswith(f"{layer}.")]
