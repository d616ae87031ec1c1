# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.model.objfile.reader: what is read from good objects, and each wrong one."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

import pytest

from kvmbpf.author.compile import compile_device, find_clang, header_folders
from kvmbpf.errors import BadFileError
from kvmbpf.model.objfile import EntryKind, read_device, read_object
from kvmbpf.model.objfile.elf import MAX_FILE_BYTES, ElfImage
from kvmbpf.model.objfile.notes import NOTE_SECTION
from kvmbpf.model.spec import Bus, PropertySpec, Trigger
from tests.places import ROOT
from tests.unit.model.note_encoder import DEMO, encode_notes

EVERYTHING = ROOT / "tests/unit/progs/everything.bpf.c"


def test_demo_is_read_whole(demo_v1: Path) -> None:
    assert read_device(demo_v1) == DEMO


def test_both_versions_are_the_same_device_with_the_same_state(
    demo_v1: Path, demo_v2: Path
) -> None:
    one, two = read_object(demo_v1), read_object(demo_v2)
    assert one.spec == two.spec
    assert one.state == two.state
    assert demo_v1.read_bytes() != demo_v2.read_bytes()


def test_programs(demo_v1: Path) -> None:
    programs = {program.name: program for program in read_object(demo_v1).programs}
    assert list(programs) == [
        "kvmbpf_read",
        "kvmbpf_write",
        "kvmbpf_call_read",
        "kvmbpf_call_write",
    ]
    elf = ElfImage(demo_v1)
    for name in ("kvmbpf_read", "kvmbpf_write"):
        section = elf.section(f"struct_ops/{name}")
        assert section is not None
        assert programs[name].instructions == section.size // 8 > 0
        assert (programs[name].entry, programs[name].sleepable) == (EntryKind.KERNEL, False)
    section = elf.section("syscall")
    assert section is not None
    read, write = programs["kvmbpf_call_read"], programs["kvmbpf_call_write"]
    assert (read.offset, write.offset) == (0, read.instructions * 8)
    assert read.instructions + write.instructions == section.size // 8
    assert (read.entry, read.sleepable) == (EntryKind.CALL, True)


def test_everything_that_the_notes_can_say(everything: Path) -> None:
    spec = read_device(everything)
    assert spec.compatible == ("acme,everything", "acme,some")
    assert (spec.version, spec.resets, spec.concurrent) == (7, True, True)
    assert [(region.bus, region.size, region.base) for region in spec.regions] == [
        (Bus.MMIO, 0x1000, None),
        (Bus.MMIO, 0x400, 0xFED00000),
        (Bus.PIO, 8, 0x3F8),
    ]
    assert [irq.trigger for irq in spec.irqs] == [Trigger.EDGE, Trigger.LEVEL]
    assert spec.properties == (
        PropertySpec("clock-frequency", "<1843200>"),
        PropertySpec("label", '"front", "panel"'),
        PropertySpec("wakeup-source", ""),
    )
    sleepable = [item.name for item in read_object(everything).programs if item.sleepable]
    assert sleepable[:2] == ["kvmbpf_write", "kvmbpf_reset"]


def compiled(source: Path, output: Path, target: str) -> Path:
    subprocess.run(
        [
            str(find_clang().path),
            *("-target", target, "-mcpu=v3", "-O2", "-g"),
            *(f"-I{folder}" for folder in header_folders()),
            *("-c", str(source), "-o", str(output)),
        ],
        check=True,
        capture_output=True,
    )
    return output


def test_big_endian_object(everything: Path, tmp_path: Path) -> None:
    path = compiled(EVERYTHING, tmp_path / "big.o", "bpfeb")
    assert path.read_bytes()[5] == 2
    big, little = read_object(path), read_object(everything)
    assert not big.elf.little_endian
    assert big.spec == little.spec
    assert big.maps == little.maps
    assert big.state == little.state
    assert [item.name for item in big.programs] == [item.name for item in little.programs]


@pytest.mark.parametrize(("target", "order"), [("bpfel", "<"), ("bpfeb", ">")])
def test_the_headers_notes_are_as_documented(target: str, order: str, tmp_path: Path) -> None:
    """Byte by byte, compared with an encoder that knows the document only."""
    device = read_object(compiled(EVERYTHING, tmp_path / "d.o", target))
    section = device.elf.section(NOTE_SECTION)
    assert section is not None
    assert device.elf.data(section) == encode_notes(device.spec, order)


# ---- wrong files ----------------------------------------------------------


def refused(path: Path) -> BadFileError:
    with pytest.raises(BadFileError) as caught:
        read_device(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return caught.value


def test_missing_file(tmp_path: Path) -> None:
    assert refused(tmp_path / "absent.o").reason == "no such file"


def test_directory(tmp_path: Path) -> None:
    assert "a directory, expected an ELF file" in str(refused(tmp_path))


def test_file_under_a_file(demo_v1: Path) -> None:
    assert "Not a directory" in str(refused(demo_v1 / "x"))


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.o").touch()
    assert "empty, expected an ELF file" in str(refused(tmp_path / "empty.o"))


def test_text_file() -> None:
    assert "not an ELF file: starts with 23 20 53 50" in str(refused(Path(__file__)))


def test_program_of_the_host() -> None:
    error = refused(Path("/bin/true").resolve())
    assert "expected EM_BPF" in str(error)
    assert error.offset == 18


def test_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "large.o"
    path.write_bytes(b"\x7fELF")
    os.truncate(path, MAX_FILE_BYTES + 1)
    assert "too large for a device object" in str(refused(path))


def test_endless_file() -> None:
    assert "too large" in str(refused(Path("/dev/zero")))


def test_object_without_a_note(tmp_path: Path) -> None:
    source = tmp_path / "plain.c"
    source.write_text("int x;\n")
    assert "no section .note.kvmbpf" in str(refused(compile_device(source, tmp_path / "plain.o")))


def test_device_without_a_write_body(tmp_path: Path) -> None:
    source = tmp_path / "half.bpf.c"
    source.write_text(
        "#include <kvmbpf.bpf.h>\n"
        'KVMBPF_DEVICE(d, .compatible = "a,b", .regions = { KVMBPF_MMIO(16) });\n'
        "KVMBPF_READ(struct kvmbpf_access *acc) { acc->value = 0; return 0; }\n"
    )
    error = refused(compile_device(source, tmp_path / "half.o"))
    assert error.section == NOTE_SECTION
    assert error.reason == (
        "region 0: program kvmbpf_write is named here but not in the file; "
        "define it with KVMBPF_WRITE()"
    )


@pytest.mark.parametrize("length", [4, 20, 63, 64, 200, 1000])
def test_truncated_object(length: int, demo_v1: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.o"
    path.write_bytes(demo_v1.read_bytes()[:length])
    refused(path)


def patched(original: Path, path: Path, before: bytes, after: bytes) -> Path:
    """Copy an object with the first `before` in its notes changed."""
    section = ElfImage(original).section(NOTE_SECTION)
    assert section is not None
    data = original.read_bytes()
    start = data.index(before, section.offset, section.offset + section.size)
    path.write_bytes(data[:start] + after + data[start + len(before) :])
    return path


@pytest.mark.parametrize(
    ("before", "after", "where", "reason"),
    [
        (
            b"kvmbpf_read\0",
            b"kvmbpf_rood\0",
            20 + 0xB8 + 0x18,
            "region 0: program kvmbpf_rood is named here but not in the file; "
            "define it with KVMBPF_READ()",
        ),
        (
            b"kvmbpf_call_write\0",
            b"kvmbpf_call_wrote\0",
            20 + 0xB8 + 0x78,
            "region 0: program kvmbpf_call_wrote is named here but not in the file; "
            "define it with KVMBPF_WRITE()",
        ),
        (
            b"kvmbpf_read\0\0\0\0\0\0",
            b"kvmbpf_call_read\0",
            20 + 0xB8 + 0x18,
            "region 0: program kvmbpf_call_read is in section syscall, expected struct_ops",
        ),
        (
            b"kvmbpf_call_read\0",
            b"kvmbpf_read\0\0\0\0\0\0",
            20 + 0xB8 + 0x58,
            "region 0: program kvmbpf_read is in section struct_ops/kvmbpf_read, expected syscall",
        ),
        (
            struct.pack("<III", 2, 1, 0),
            struct.pack("<III", 2, 1, 1),
            20 + 8,
            "flags: program kvmbpf_reset is named here but not in the file; "
            "define it with KVMBPF_RESET()",
        ),
    ],
)
def test_programs_that_are_not_there(
    before: bytes, after: bytes, where: int, reason: str, demo_v1: Path, tmp_path: Path
) -> None:
    error = refused(patched(demo_v1, tmp_path / "broken.o", before, after))
    assert (error.section, error.offset, error.reason) == (NOTE_SECTION, where, reason)


def test_programs_are_looked_for_in_every_region(everything: Path, tmp_path: Path) -> None:
    """The place that is told is that of the region, wherever the device's note is."""
    data = everything.read_bytes()
    section = ElfImage(everything).section(NOTE_SECTION)
    assert section is not None
    field = section.offset + 20 + 0xB8 + 2 * 152 + 0x38
    assert data[field : field + 13] == b"kvmbpf_write\0"
    path = tmp_path / "broken.o"
    path.write_bytes(data[:field] + b"kvmbpf_wrote\0" + data[field + 13 :])
    error = refused(path)
    assert error.reason.startswith("region 2: program kvmbpf_wrote")
    assert error.offset == field - section.offset


def section_header(path: Path, name: str) -> int:
    """Return the file offset of a section's header."""
    elf = ElfImage(path)
    section = elf.section(name)
    assert section is not None
    data = path.read_bytes()
    (start,) = struct.unpack_from("<Q", data, 40)
    for offset in range(start, len(data), 64):
        if struct.unpack_from("<QQ", data, offset + 24) == (section.offset, section.size):
            return offset
    raise AssertionError(f"no header of {name}")


def with_header_field(
    original: Path, path: Path, name: str, offset: int, form: str, value: int
) -> Path:
    data = bytearray(original.read_bytes())
    struct.pack_into(form, data, section_header(original, name) + offset, value)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("size", [1, 19, 20, 1000, 1419])
def test_note_section_cut(size: int, demo_v1: Path, tmp_path: Path) -> None:
    path = with_header_field(demo_v1, tmp_path / "cut.o", NOTE_SECTION, 32, "<Q", size)
    assert refused(path).section == NOTE_SECTION


def test_note_section_over_its_neighbour(demo_v1: Path, tmp_path: Path) -> None:
    path = with_header_field(demo_v1, tmp_path / "long.o", NOTE_SECTION, 32, "<Q", 1420 + 64)
    assert 'expected "KVMBPF" of 7' in str(refused(path))


@pytest.mark.parametrize(
    ("offset", "form", "value", "reason"),
    [
        (4, "<I", 1, "section type SHT_PROGBITS, expected SHT_NOTE"),
        (24, "<Q", 1 << 63, "go past the file's end"),
        (32, "<Q", 1 << 63, "go past the file's end"),
        (0, "<I", 0xFFFFFF, "not a string"),
    ],
)
def test_broken_note_section(
    offset: int, form: str, value: int, reason: str, demo_v1: Path, tmp_path: Path
) -> None:
    path = with_header_field(demo_v1, tmp_path / "bad.o", NOTE_SECTION, offset, form, value)
    assert reason in str(refused(path))


@pytest.mark.parametrize(
    ("offset", "form", "value", "reason"),
    [
        (32, "<Q", 0, "is named here but not in the file"),
        (32, "<Q", 25, "expected entries of 24"),
        (32, "<Q", 1 << 63, "expected entries of 24"),
        (32, "<Q", 24 << 50, "symbols, expected at most"),
        (56, "<Q", 0, "in entries of 0, expected entries of 24"),
        (40, "<I", 999, "names in section 999"),
        (4, "<I", 1, "0 symbol tables, expected one"),
    ],
)
def test_broken_symbol_table(
    offset: int, form: str, value: int, reason: str, demo_v1: Path, tmp_path: Path
) -> None:
    path = with_header_field(demo_v1, tmp_path / "bad.o", ".symtab", offset, form, value)
    assert reason in str(refused(path))


@pytest.mark.parametrize(
    ("offset", "form", "value", "reason"),
    [
        (4, "<B", 1, "ELF class 1, expected 2 (64-bit)"),
        (5, "<B", 3, "ELF byte order 3"),
        (16, "<H", 2, "ELF type ET_EXEC, expected ET_REL"),
        (18, "<H", 0xEEEE, "made for machine 61166, expected EM_BPF"),
        (40, "<Q", 1 << 62, "go past the file's end"),
        (58, "<H", 1, "section headers of 1 bytes, expected 64"),
        (60, "<H", 0xFFFF, "65535 sections, expected 1 to 1024"),
        (62, "<H", 0x100, "section names in section 256"),
    ],
)
def test_broken_elf_header(
    offset: int, form: str, value: int, reason: str, demo_v1: Path, tmp_path: Path
) -> None:
    data = bytearray(demo_v1.read_bytes())
    struct.pack_into(form, data, offset, value)
    path = tmp_path / "bad.o"
    path.write_bytes(data)
    assert reason in str(refused(path))


def test_program_past_its_section(demo_v1: Path, tmp_path: Path) -> None:
    elf = ElfImage(demo_v1)
    table = elf.section(".symtab")
    assert table is not None
    index = [symbol.name for symbol in elf.symbols()].index("kvmbpf_read")
    data = bytearray(demo_v1.read_bytes())
    struct.pack_into("<Q", data, table.offset + index * 24 + 16, 1 << 40)
    path = tmp_path / "bad.o"
    path.write_bytes(data)
    assert "program kvmbpf_read of 1099511627776 bytes goes past" in str(refused(path))


def test_symbol_names_are_shown_on_one_line(demo_v1: Path, tmp_path: Path) -> None:
    data = demo_v1.read_bytes().replace(b"\0doorbells\0", b"\0door\nells\0")
    path = tmp_path / "odd.o"
    path.write_bytes(data)
    assert "door\\nells" in [item.name for item in read_object(path).state]


def test_two_note_sections(demo_v1: Path, tmp_path: Path) -> None:
    names = demo_v1.read_bytes()
    (name,) = struct.unpack_from("<I", names, section_header(demo_v1, NOTE_SECTION))
    path = with_header_field(demo_v1, tmp_path / "two.o", ".BTF", 0, "<I", name)
    assert "2 sections of this name, expected one" in str(refused(path))
