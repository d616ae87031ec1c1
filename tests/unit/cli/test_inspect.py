# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf inspect``, as a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kvmbpf.author.compile import compile_shipped
from kvmbpf.model.objfile import read_object
from kvmbpf.model.objfile.describe import SCHEMA, describe
from kvmbpf.model.objfile.elf import ElfImage
from kvmbpf.model.objfile.notes import NOTE_SECTION
from tests.places import ROOT


def kvmbpf(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kvmbpf", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def lines(output: str, label: str) -> list[str]:
    """Return the lines of one label, with single spaces."""
    return [
        " ".join(line.split()).removeprefix(f"{label} ")
        for line in output.splitlines()
        if line.startswith(f"{label} ")
    ]


def test_table_of_everything(everything: Path) -> None:
    done = kvmbpf("inspect", everything)
    assert (done.returncode, done.stderr) == (0, "")
    shown = done.stdout
    assert not [line for line in shown.splitlines() if line != line.rstrip()]
    assert lines(shown, "device") == ["everything"]
    assert lines(shown, "compatible") == ["acme,everything acme,some"]
    assert lines(shown, "version") == ["7"]
    assert lines(shown, "flags") == ["resets, concurrent"]
    assert lines(shown, "region") == [
        "0 mmio 0x1000 bytes read kvmbpf_read write kvmbpf_write",
        "1 mmio 0x400 bytes at 0xfed00000 read kvmbpf_read write kvmbpf_write",
        "2 pio 0x8 ports at 0x3f8 read kvmbpf_read write kvmbpf_write",
    ]
    assert lines(shown, "irq") == ["0 edge", "1 level"]
    assert lines(shown, "property") == [
        "clock-frequency <1843200>",
        'label "front", "panel"',
        "wakeup-source (no value)",
    ]
    programs = lines(shown, "program")
    for program in read_object(everything).programs:
        sleeps = ", may sleep" if program.sleepable else ""
        assert (
            f"{program.name} {program.instructions} instructions {program.section} "
            f"by {program.entry.value}{sleeps}"
        ) in programs
    maps = lines(shown, "map")
    assert "table hash key 8 bytes, value 8 bytes struct entry, 16 entries" in maps
    assert "plain array key 4 bytes, value 24 bytes, 4 entries" in maps
    assert "kvmbpf_log_ring ringbuf 65536 bytes" in maps
    state = lines(shown, "state")
    assert ".bss+0x0 80 bytes state: struct state" in state
    assert ".bss+0x8 bit 3 5 bits high: __u8" in state
    assert ".data+0x0 4 bytes level: __u32" in state
    kernel, call = lines(shown, "needs, kernel"), lines(shown, "needs, call")
    assert "struct ops kvm_bpf_ops" in kernel
    assert not [line for line in call if line.startswith("struct ops")]
    (functions,) = [line for line in kernel if line.startswith("functions ")]
    assert "kvm_bpf_read_guest (may be missing)" in functions
    assert [line for line in call if "bpf_map_lookup_elem" in line]


def test_json_of_everything(everything: Path) -> None:
    done = kvmbpf("inspect", "--json", everything)
    assert (done.returncode, done.stderr) == (0, "")
    content = json.loads(done.stdout)
    assert content == describe(read_object(everything))
    assert list(content) == [
        *("schema", "file", "byte_order", "device", "programs", "maps", "state", "needs")
    ]
    assert (content["schema"], content["byte_order"]) == (SCHEMA, "little")
    assert content["device"]["regions"][1]["base"] == 0xFED00000
    assert content["device"]["properties"][0] == {"name": "clock-frequency", "value": "<1843200>"}
    assert content["needs"]["kernel"]["sleepable"] is True
    assert content["needs"]["kernel"]["struct_ops"] == ["kvm_bpf_ops"]
    assert content["needs"]["call"]["struct_ops"] == []
    assert "kvm_bpf_access.region" in content["needs"]["kernel"]["types"]
    assert content["needs"]["call"]["types"] == []
    assert {"number": 1, "name": "bpf_map_lookup_elem"} in content["needs"]["call"]["helpers"]


def test_a_map_that_nothing_refers_to(demo_v1: Path) -> None:
    content = json.loads(kvmbpf("inspect", "--json", demo_v1).stdout)
    assert {item["name"]: item["used"] for item in content["maps"]} == {
        "kvmbpf_ops": True,
        "kvmbpf_log_ring": False,
    }
    assert "65536 bytes, not used" in kvmbpf("inspect", demo_v1).stdout


def on_a_terminal(path: Path, **environment: str) -> bytes:
    """Return what the command writes to a terminal."""
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as reader:  # noqa: PTH123 - a descriptor
        try:
            subprocess.run(
                [sys.executable, "-m", "kvmbpf", "inspect", str(path)],
                cwd=ROOT,
                stdin=theirs,
                stdout=theirs,
                env=os.environ | environment,
                check=True,
            )
        finally:
            os.close(theirs)
        written = b""
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while chunk := reader.read(65536):
                written += chunk
        return written


def test_colour_is_for_terminals_only(tmp_path: Path) -> None:
    device = compile_shipped("bench/bench_pio", tmp_path)
    assert b"\x1b[36mdevice" in on_a_terminal(device)
    bare = on_a_terminal(device, NO_COLOR="1")
    assert b"\x1b" not in bare
    assert bare.startswith(b"device")
    assert "\x1b" not in kvmbpf("inspect", device).stdout


def test_what_a_file_says_cannot_drive_the_terminal(demo_v1: Path, tmp_path: Path) -> None:
    path = tmp_path / "odd.o"
    path.write_bytes(demo_v1.read_bytes().replace(b"\0doorbells\0", b"\0door\x1b[2Js\0"))
    shown = kvmbpf("inspect", path).stdout
    assert "door\\x1b[2J" in shown
    assert "\x1b" not in shown


def test_readme_shows_what_is_printed(shipped_demo: Path) -> None:
    """But for instruction counts, which vary with clang."""
    readme = (ROOT / "kvmbpf" / "devices" / "demo" / "README.md").read_text()
    shown = readme.partition("kvmbpf inspect demo_v1.bpf.o\n")[2].partition("```")[0]
    printed = kvmbpf("inspect", shipped_demo).stdout
    count = re.compile(r" +\d+(?= instructions)")
    assert count.sub(" N", shown) == count.sub(" N", printed)


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
        (0x14, b"\x09", "offset 0x14: note format 9, this kvmbpf reads format 2"),
        (0x14, b"\x01", "offset 0x14: note format 1, this kvmbpf reads format 2"),
        (0x2C, b"d" * 32, "offset 0x2c: name: string not terminated"),
        (0xD4, bytes(8), "offset 0xd4: region 0: size 0"),
        (0xE4, b"kvmbpf_rood", "offset 0xe4: region 0: program kvmbpf_rood is named here"),
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
        "import kvmbpf.model.placement, kvmbpf.model.firmware.acpi, kvmbpf.model.firmware.dt; "
        "print(*sorted(name for name in sys.modules if name.startswith(('kvmbpf', 'ctypes'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(demo_v1)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    modules = done.stdout.splitlines()[-1].split()
    assert "kvmbpf.model.objfile" in modules
    assert "ctypes" not in modules
    privileged = ("fd", "ioctl", "kvm", "libbpf", "uapi", "backends", "manager")
    for name in privileged:
        layer = f"kvmbpf.{name}"
        assert not [module for module in modules if f"{module}.".startswith(f"{layer}.")]
