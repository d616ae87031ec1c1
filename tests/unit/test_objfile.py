# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.objfile: what is read from good objects, and each wrong one."""

from __future__ import annotations

import json
import os
import struct
import subprocess
from pathlib import Path

import pytest

from kvmbpf.compile import HEADERS, compile_device, find_clang, header_folders
from kvmbpf.elffile import MAX_FILE_BYTES, ElfImage
from kvmbpf.errors import BadFileError
from kvmbpf.objfile import NOTE_SECTION, read_device, read_object
from kvmbpf.spec import Bus, DeviceSpec, IrqSpec, RegionSpec

DEMO = DeviceSpec(
    name="demo",
    compatible=("kvmbpf,demo",),
    version=1,
    regions=(RegionSpec(0, Bus.MMIO, 0x1000, "kvmbpf_read", "kvmbpf_write"),),
    irqs=(IrqSpec(0),),
)


def test_demo_is_read_whole(demo_v1: Path) -> None:
    assert read_device(demo_v1) == DEMO


def test_both_versions_are_the_same_device_with_the_same_state(
    demo_v1: Path, demo_v2: Path
) -> None:
    one, two = read_object(demo_v1), read_object(demo_v2)
    assert one.spec == two.spec
    assert one.state == two.state
    assert demo_v1.read_bytes() != demo_v2.read_bytes()


def test_programs_maps_and_state(demo_v1: Path) -> None:
    info = read_object(demo_v1)
    assert [program.name for program in info.programs] == ["kvmbpf_read", "kvmbpf_write"]
    elf = ElfImage(demo_v1)
    for program in info.programs:
        section = elf.section(program.section)
        assert section is not None
        assert program.instructions == section.size // 8 > 0
    assert [item.name for item in info.maps] == ["kvmbpf_ops"]
    names = sorted(item.name for item in info.state)
    assert names == ["counter", "declined", "doorbells", "irqs", "reads", "writes"]
    assert {item.size for item in info.state} == {8}
    assert {item.section for item in info.state} == {".bss"}


def test_maps_of_the_author_and_initialised_state(tmp_path: Path) -> None:
    source = tmp_path / "d.bpf.c"
    source.write_text(
        "#include <kvmbpf.bpf.h>\n"
        'KVMBPF_DEVICE(d, .compatible = "a,b", .regions = { KVMBPF_MMIO(1), KVMBPF_MMIO(2) });\n'
        "struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4);\n"
        '  __type(key, __u32); __type(value, __u64); } table SEC(".maps");\n'
        "__u32 level = 3;\n"
        "static __noinline __u64 pick(__u32 k)\n"
        "{ __u64 *v = bpf_map_lookup_elem(&table, &k); return v ? *v : 0; }\n"
        "KVMBPF_READ(struct kvmbpf_access *acc) { acc->value = pick(acc->region); return 0; }\n"
        "KVMBPF_WRITE(struct kvmbpf_access *acc) { level = acc->value; return 0; }\n"
    )
    info = read_object(compile_device(source, tmp_path / "d.o"))
    assert {item.name for item in info.maps} == {"kvmbpf_ops", "table"}
    assert [(item.name, item.section, item.size) for item in info.state] == [("level", ".data", 4)]
    assert [item.name for item in info.programs] == ["kvmbpf_read", "kvmbpf_write"]
    assert [region.size for region in info.spec.regions] == [1, 2]


def test_json_is_plain(demo_v1: Path) -> None:
    document = json.loads(json.dumps(read_object(demo_v1).to_json()))
    assert document["device"]["regions"] == [
        {
            "index": 0,
            "bus": "mmio",
            "size": 4096,
            "base": None,
            "read_program": "kvmbpf_read",
            "write_program": "kvmbpf_write",
            "call_read_program": "",
            "call_write_program": "",
        }
    ]
    assert document["device"]["irqs"] == [{"index": 0, "trigger": "edge"}]


def test_big_endian_object(tmp_path: Path) -> None:
    output = tmp_path / "demo.o"
    subprocess.run(
        [
            str(find_clang().path),
            *("-target", "bpfeb", "-mcpu=v3", "-O2", "-g"),
            *(f"-I{folder}" for folder in header_folders()),
            *("-c", str(HEADERS.parent / "devices/demo/demo_v1.bpf.c"), "-o", str(output)),
        ],
        check=True,
        capture_output=True,
    )
    assert output.read_bytes()[5] == 2
    assert read_device(output) == DEMO


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


def patched(original: Path, path: Path, offset: int, content: bytes) -> Path:
    """Copy an object with `content` at `offset` of its note section."""
    section = ElfImage(original).section(NOTE_SECTION)
    assert section is not None
    data = bytearray(original.read_bytes())
    start = section.offset + offset
    data[start : start + len(content)] = content
    path.write_bytes(data)
    return path


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


@pytest.mark.parametrize(
    ("offset", "content", "where", "reason"),
    [
        (0x00, u32(8), 0x0C, 'note owner "KVMBPF" of 8 bytes, expected'),
        (0x00, u32(0xFFFFFFFF), 0x0C, 'note owner "KVMBPF" of 4294967295 bytes'),
        (0x0C, b"OTHERS", 0x0C, 'note owner "OTHERS" of 7 bytes, expected "KVMBPF"'),
        (0x0C, b"\xff\n", 0x0C, 'note owner "\\xff\\nMBPF" of 7 bytes, expected "KVMBPF" of 7'),
        (0x08, u32(2), 0x08, "note type 2, expected 1 (device)"),
        (0x04, u32(756), 0x04, "note content of 756 bytes, expected 760"),
        (0x04, u32(0xFFFFFFFF), 0x04, "note content of 4294967295 bytes, expected 760"),
        (0x14, u32(2), 0x14, "note format 2, this kvmbpf reads format 1"),
        (0x14, u32(0), 0x14, "note format 0, expected 1"),
        (0x18, u32(0), 0x18, "version 0, expected 1 or more"),
        (0x1C, u32(4), 0x1C, "flags 0x4, expected 0"),
        (0x20, u32(33), 0x20, "33 irqs, expected at most 32"),
        (0x24, u32(2), 0x24, "level_irqs 0x2 names an irq past the 1 there are"),
        (0x28, u32(1), 0x28, "reserved field 0x1, expected 0"),
        (0x2C, b"d" * 32, 0x2C, "name: string not terminated within 32 bytes"),
        (0x2C, b"\0", 0x2C, "name: bytes after the string's end"),
        (0x2C, b"\0" * 32, 0x2C, 'name: "", expected the form'),
        (0x2C, b"d/mo", 0x2C, 'name: "d/mo", expected the form'),
        (0x2C, b"d\nmo", 0x2C, 'name: "d\\nmo", expected the form'),
        (0x2C, b"de\xffo", 0x2C, 'name: "de\\xffo", expected the form'),
        (0x4C, b"c" * 64, 0x4C, "compatible: string not terminated within 64 bytes"),
        (0x4C, b"kvm bp", 0x4C, 'compatible: "kvm bp,demo", expected the form'),
        (0x8C, u32(2), 0x8C, "region 0: bus 2, expected 0 (MMIO) or 1 (PIO)"),
        (0x8C, u32(0x80000001), 0x8C, "region 0: bus 2147483649, expected"),
        (0x8C, struct.pack("<IIQ", 1, 0, 0x10001), 0x94, "size 0x10001, expected at most 0x10000"),
        (0x8C, struct.pack("<IIQ", 1, 0, 0), 0x94, "region 0: size 0, expected"),
        (0x90, u32(1), 0x90, "region 0: flags 0x1, expected 0"),
        (0x94, bytes(8), 0x94, "region 0: size 0, expected at least one byte"),
        (0x94, b"\xff" * 8, 0x94, "region 0: size 0xffffffffffffffff, expected at most"),
        (0x94, struct.pack("<Q", (1 << 52) + 1), 0x94, "expected at most 0x10000000000000"),
        (0x9C, b"r" * 32, 0x9C, "region 0: read program: string not terminated"),
        (0xBC, b"w" * 32, 0xBC, "region 0: write program: string not terminated"),
        (0x9C, b"kvmbpf_rood", 0x9C, "program kvmbpf_rood is named here but not in the file"),
        (0xBC, b"kvmbpf_wrote", 0xBC, "program kvmbpf_wrote is named here but not in the file"),
        (0x8C, bytes(80), 0x8C, "no region, expected at least one"),
        (0x8C + 160, b"\1", 0x8C + 80, "region 1 is empty before one that is not"),
    ],
)
def test_broken_note(
    offset: int, content: bytes, where: int, reason: str, demo_v1: Path, tmp_path: Path
) -> None:
    error = refused(patched(demo_v1, tmp_path / "broken.o", offset, content))
    assert reason in str(error)
    assert error.section == NOTE_SECTION
    assert error.offset == where


def test_largest_region(demo_v1: Path, tmp_path: Path) -> None:
    size = struct.pack("<Q", 1 << 52)
    path = patched(demo_v1, tmp_path / "large.o", 0x94, size)
    assert read_device(path).regions[0].size == 1 << 52


def test_every_port_there_is(demo_v1: Path, tmp_path: Path) -> None:
    path = patched(demo_v1, tmp_path / "ports.o", 0x8C, struct.pack("<IIQ", 1, 0, 1 << 16))
    region = read_device(path).regions[0]
    assert (region.bus, region.size) == (Bus.PIO, 1 << 16)


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


@pytest.mark.parametrize("size", [0, 3, 12, 0x17, 0x18, 0x30B])
def test_truncated_note(size: int, demo_v1: Path, tmp_path: Path) -> None:
    path = with_header_field(demo_v1, tmp_path / "cut.o", NOTE_SECTION, 32, "<Q", size)
    error = refused(path)
    assert "note ends here, expected 0x30c bytes in all" in str(error)
    assert error.offset == size


def test_more_after_the_note(demo_v1: Path, tmp_path: Path) -> None:
    path = with_header_field(demo_v1, tmp_path / "long.o", NOTE_SECTION, 32, "<Q", 0x310)
    assert "more after the device's note" in str(refused(path))


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
