# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/note-format.md: its tables and its dump are what is read and what is compiled."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from kvmbpf.author.compile import compile_device
from kvmbpf.errors import BadFileError
from kvmbpf.model.objfile import read_device
from kvmbpf.model.objfile.elf import ElfImage
from kvmbpf.model.objfile.notes import (
    DEVICE_BYTES,
    HEAD_BYTES,
    MAX_NOTES,
    NOTE_FORMAT,
    NOTE_SECTION,
    REGION_BYTES,
    REGION_PROGRAMS,
    REGIONS_OFFSET,
    VALUE_OFFSET,
    NoteType,
    read_notes,
)
from kvmbpf.model.spec import PropertySpec
from tests.places import ROOT
from tests.unit.model.note_encoder import LARGEST, encode_device, encode_note, encode_property

DOCUMENT = (ROOT / "docs" / "note-format.md").read_text()


def section(title: str) -> str:
    """Return the text between a heading and the next."""
    _, found, rest = DOCUMENT.partition(f"# {title}\n")
    assert found, title
    return re.split(r"^#+ ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def table(title: str) -> list[tuple[int, int, str]]:
    """Return the rows of the first table there: offset, bytes (0: not said), content."""
    rows = re.findall(
        r"^\| \+?(0x[0-9a-f]+) \| (\d*) ?\| (.*) \|$", section(title), flags=re.MULTILINE
    )
    assert rows
    return [(int(offset, 16), int(size or 0), content) for offset, size, content in rows]


NOTE = table("A note")
DEVICE = table("Content of the device note")
REGION = table("A region")
PROPERTY = table("Content of a property note")


@pytest.mark.parametrize("rows", [NOTE, DEVICE, REGION, PROPERTY])
def test_fields_follow_each_other(rows: list[tuple[int, int, str]]) -> None:
    place = 0
    for offset, size, _ in rows:
        assert offset == place
        place += size


def test_sizes_are_those_of_the_reader() -> None:
    assert NOTE[-1][0] == HEAD_BYTES
    assert DEVICE[-1][0] == DEVICE_BYTES
    assert DEVICE[-2][0] == REGIONS_OFFSET
    assert DEVICE[-2][1] == 8 * REGION_BYTES
    assert REGION[-1][0] == REGION_BYTES
    assert PROPERTY[-1][0] == VALUE_OFFSET
    programs = {content.split(":")[0]: offset for offset, _, content in REGION[4:8]}
    assert programs == {
        field.name.removesuffix("_program"): field.offset for field in REGION_PROGRAMS
    }
    assert DOCUMENT.startswith(f"# The notes of a device object, format {NOTE_FORMAT}\n")
    assert f"| 0x000 | 4 | format = {NOTE_FORMAT} |" in DOCUMENT
    for kind in NoteType:
        assert f"| {kind.value} | {kind.name.lower()} |" in DOCUMENT
    assert f"at most {MAX_NOTES} notes in all" in DOCUMENT


def fields() -> list[tuple[str, int, int]]:
    """Return the fields of a device as offsets in its content, the regions' with them."""
    found = [(content, offset, size) for offset, size, content in DEVICE[:-2]]
    for index in range(8):
        start = REGIONS_OFFSET + index * REGION_BYTES
        found += [(f"{index} {content}", start + at, size) for at, size, content in REGION[:-1]]
    return found


@pytest.mark.parametrize(("content", "offset", "size"), fields())
def test_the_reader_finds_each_field_where_the_document_has_it(
    content: str, offset: int, size: int
) -> None:
    """Ones in a field are refused in that field, or for what a number is too large in."""
    regions = (replace(LARGEST.regions[1], call_read_program="c", call_write_program="d"),)
    whole = replace(LARGEST, regions=LARGEST.regions[:1] + regions + LARGEST.regions[2:])
    data = bytearray(encode_device(whole))
    data[offset : offset + size] = b"\xff" * size
    note = encode_note(NoteType.DEVICE, bytes(data))
    if content.startswith("version"):
        assert read_notes(Path("f"), note, little_endian=True).spec.version == 0xFFFFFFFF
        return
    if content.startswith("level_irqs"):  # there are 32 of them
        read_notes(Path("f"), note, little_endian=True)
        return
    with pytest.raises(BadFileError) as caught:
        read_notes(Path("f"), note, little_endian=True)
    assert caught.value.offset == HEAD_BYTES + offset


def test_the_property_too() -> None:
    content = bytearray(encode_property(PropertySpec("p", "<1>")))
    for offset, size in ((0, 4), (4, 32), (VALUE_OFFSET, 4)):
        broken = bytearray(content)
        broken[offset : offset + size] = b"\xff" * size
        with pytest.raises(BadFileError) as caught:
            read_notes(Path("f"), encode_note(NoteType.PROPERTY, bytes(broken)), little_endian=True)
        assert caught.value.offset == HEAD_BYTES + offset


def dumped() -> bytes:
    """Return the bytes of the dump, whose lines must state their own offsets."""
    data = b""
    for line in section("An example").split("```\n")[2].splitlines():
        match = re.match(
            r"(0x[0-9a-f]{3})  ((?:[0-9a-f]{2} )*?)(?:00 x (\d+))?(?:  +|$)", line + "  "
        )
        assert match is not None, line
        assert int(match[1], 16) == len(data), line
        data += bytes.fromhex(match[2]) + bytes(int(match[3] or 0))
    return data


def test_the_dump_is_what_is_compiled(tmp_path: Path) -> None:
    source = tmp_path / "uart.bpf.c"
    source.write_text(section("An example").split("```c\n")[1].partition("```")[0])
    path = compile_device(source, tmp_path / "uart.o")
    elf = ElfImage(path)
    found = elf.section(NOTE_SECTION)
    assert found is not None
    assert elf.data(found).hex(" ") == dumped().hex(" ")
    assert read_device(path).properties == (PropertySpec("clock-frequency", "<1843200>"),)
