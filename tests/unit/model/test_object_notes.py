# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.model.objfile.notes: what good notes say, and each wrong one."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from kvmbpf.errors import BadFileError
from kvmbpf.model.objfile.notes import (
    MAX_NOTES,
    MAX_PROPERTIES,
    NOTE_FORMAT,
    NOTE_OPTIONAL,
    NOTE_SECTION,
    read_notes,
)
from kvmbpf.model.spec import Bus, DeviceSpec, PropertySpec, RegionSpec
from tests.unit.model.note_encoder import (
    DEMO,
    DEVICE,
    LARGEST,
    PROPERTY,
    encode_device,
    encode_note,
    encode_notes,
    encode_property,
)

FILE = Path("dev.bpf.o")
CLOCK = PropertySpec("clock-frequency", "<1843200>")


def read(data: bytes, order: str = "<") -> DeviceSpec:
    return read_notes(FILE, data, little_endian=order == "<").spec


def refused(data: bytes) -> BadFileError:
    with pytest.raises(BadFileError) as caught:
        read(data)
    text = str(caught.value)
    assert text.startswith(f"dev.bpf.o: section {NOTE_SECTION}")
    assert "\n" not in text
    return caught.value


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("spec", [DEMO, LARGEST], ids=["demo", "largest"])
def test_what_is_written_is_read(spec: DeviceSpec, order: str) -> None:
    assert read(encode_notes(spec, order), order) == spec


@pytest.mark.parametrize("place", range(4))
def test_the_device_is_found_anywhere(place: int) -> None:
    items = tuple(PropertySpec(f"p{index}", "<0>") for index in range(3))
    spec = replace(DEMO, properties=items)
    notes = read_notes(FILE, encode_notes(spec, device_at=place), little_endian=True)
    assert notes.spec == spec
    property_bytes = len(encode_note(PROPERTY, encode_property(items[0])))
    assert notes.device_offset == 20 + place * property_bytes


def test_flags() -> None:
    for resets in (False, True):
        for concurrent in (False, True):
            spec = replace(DEMO, resets=resets, concurrent=concurrent)
            assert read(encode_notes(spec)) == spec


def test_a_region_without_call_programs() -> None:
    region = replace(DEMO.regions[0], call_read_program="", call_write_program="")
    spec = replace(DEMO, regions=(region,))
    assert read(encode_notes(spec)) == spec


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 400])
@pytest.mark.parametrize("first", [True, False])
def test_notes_that_may_be_skipped_are(size: int, first: bool) -> None:
    unknown = encode_note(NOTE_OPTIONAL | 77, b"x" * size)
    notes = encode_notes(DEMO)
    assert read(unknown + notes if first else notes + unknown) == DEMO


def test_a_property_twice() -> None:
    notes = encode_notes(replace(DEMO, properties=(CLOCK, replace(CLOCK, value="<1>"))))
    error = refused(notes)
    assert error.reason == "property clock-frequency is there twice"
    first = len(encode_note(PROPERTY, encode_property(CLOCK)))
    assert error.offset == 1420 + first + 20 + 4


def test_too_many_properties() -> None:
    items = tuple(PropertySpec(f"p{index}", "<0>") for index in range(MAX_PROPERTIES))
    assert read(encode_notes(replace(DEMO, properties=items))).properties == items
    error = refused(encode_notes(replace(DEMO, properties=(*items, CLOCK))))
    assert error.reason == "more than 64 properties"


def test_two_devices() -> None:
    error = refused(encode_notes(DEMO) * 2)
    assert "a second device note, expected one" in error.reason
    assert error.offset == 1420


def test_no_device() -> None:
    error = refused(encode_note(PROPERTY, encode_property(CLOCK)))
    assert "no device note among 1 of properties" in error.reason
    assert "no device note among 0" in refused(b"").reason


def test_more_notes_than_anyone_needs() -> None:
    skipped = encode_note(NOTE_OPTIONAL, b"")
    assert read(encode_notes(DEMO) + skipped * (MAX_NOTES - 1)) == DEMO
    error = refused(encode_notes(DEMO) + skipped * MAX_NOTES)
    assert error.reason == f"more than {MAX_NOTES} notes"


@pytest.mark.parametrize("size", [1, 4, 12, 19])
def test_a_note_without_a_whole_head(size: int) -> None:
    notes = encode_notes(DEMO)
    error = refused(notes + encode_note(NOTE_OPTIONAL, b"")[:size])
    assert error.offset == len(notes)
    assert f"{size} bytes after the last whole note" in error.reason


@pytest.mark.parametrize("size", [20, 24, 1000, 1419])
def test_a_note_that_the_section_cuts(size: int) -> None:
    error = refused(encode_notes(DEMO)[:size])
    assert error.offset == 4
    assert error.reason == (
        f"note content of 1400 bytes, but the section ends after {size - 20} of it"
    )


@pytest.mark.parametrize("size", [0xFFFFFFFC, 0xFFFFFFFF, 0x80000000, 1 << 20])
@pytest.mark.parametrize("kind", [DEVICE, PROPERTY, NOTE_OPTIONAL])
def test_a_size_that_goes_past_everything(size: int, kind: int) -> None:
    note = struct.pack("<3I8s", 7, size, kind, b"KVMBPF") + bytes(64)
    error = refused(encode_notes(DEMO) + note)
    assert error.offset == 1424
    assert f"note content of {size} bytes, but the section ends after 64" in error.reason


@pytest.mark.parametrize("size", [0xFFFFFFFC, 0xFFFFFFFF, 0, 6, 8])
def test_an_owner_of_another_size(size: int) -> None:
    notes = struct.pack("<I", size) + encode_notes(DEMO)[4:]
    error = refused(notes)
    assert error.offset == 12
    assert f"of {size} bytes, expected" in error.reason


def test_a_note_that_runs_into_the_next() -> None:
    """A device four bytes longer takes in the head of the property behind it."""
    notes = bytearray(encode_notes(replace(DEMO, properties=(CLOCK,))))
    struct.pack_into("<I", notes, 4, 1404)
    error = refused(bytes(notes))
    assert (error.offset, error.reason) == (4, "device content of 1404 bytes, expected 1400")
    # One that may be skipped leaves the reader in the middle of the next.
    skipped = bytearray(encode_note(NOTE_OPTIONAL, bytes(8)) + bytes(notes))
    struct.pack_into("<I", skipped, 4, 12)
    assert "note owner" in refused(bytes(skipped)).reason


def test_padding_that_is_not_zero() -> None:
    note = encode_note(NOTE_OPTIONAL, b"12345")
    error = refused(encode_notes(DEMO) + note[:-1] + b"x")
    assert error.reason == "note content of 5 bytes without 3 zeros behind it"
    assert "without 3 zeros" in refused(encode_notes(DEMO) + note[:-2]).reason


@pytest.mark.parametrize("kind", [0, 3, 0x7FFFFFFF])
def test_an_unknown_type(kind: int) -> None:
    error = refused(encode_notes(DEMO) + encode_note(kind, b""))
    assert error.offset == 1428
    assert error.reason == (
        f"note type {kind:#x}, this kvmbpf knows 1 (device) and 2 (property); use a newer kvmbpf"
    )


@pytest.mark.parametrize("kind", [DEVICE, PROPERTY])
@pytest.mark.parametrize(("found", "mend"), [(1, "again"), (0, "again"), (3, "newer kvmbpf or")])
def test_another_format(kind: int, found: int, mend: str) -> None:
    content = encode_device(DEMO) if kind == DEVICE else encode_property(CLOCK)
    error = refused(encode_note(kind, struct.pack("<I", found) + content[4:]))
    assert error.offset == 20
    assert f"note format {found}, this kvmbpf reads format {NOTE_FORMAT}; " in error.reason
    assert mend in error.reason


def test_format_1_is_told_by_its_number_not_its_size() -> None:
    assert "note format 1" in refused(encode_note(DEVICE, struct.pack("<I", 1) + bytes(756))).reason


@pytest.mark.parametrize("size", [0, 3])
def test_a_content_without_a_format(size: int) -> None:
    error = refused(encode_note(DEVICE, b"\2\0\0"[:size]))
    assert (error.offset, error.reason) == (
        4,
        f"note content of {size} bytes, expected its format in 4",
    )


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def region(
    bus: int = 0, flags: int = 0, size: int = 16, base: int = 0, names: bytes | None = None
) -> bytes:
    if names is None:
        names = b"".join(name.ljust(32, b"\0") for name in (b"r", b"w", b"cr", b"cw"))
    return struct.pack("<2I2Q", bus, flags, size, base) + names


# Offset in the content, bytes to put there, where the error is, what it says.
BROKEN = [
    (0x04, u32(0), 0x04, "version 0, expected 1 or more"),
    (0x08, u32(4), 0x08, "flags 0x4, this kvmbpf knows 0x1 (KVMBPF_RESETS) and 0x2"),
    (0x08, u32(0x80000001), 0x08, "flags 0x80000001, this kvmbpf knows"),
    (0x0C, u32(33), 0x0C, "33 irqs, expected at most 32"),
    (0x0C, u32(0xFFFFFFFF), 0x0C, "4294967295 irqs, expected at most 32"),
    (0x10, u32(2), 0x10, "level_irqs 0x2 names an irq past the 1 there are"),
    (0x14, u32(1), 0x14, "reserved field 0x1, expected 0"),
    (0x18, b"d" * 32, 0x18, "name: string not terminated within 32 bytes"),
    (0x18, b"\0", 0x18, "name: bytes after the string's end"),
    (0x37, b"x", 0x18, "name: bytes after the string's end"),
    (0x18, b"\0" * 32, 0x18, 'name: "", expected the form'),
    (0x18, b"d/mo", 0x18, 'name: "d/mo", expected the form'),
    (0x18, b"d\nmo", 0x18, 'name: "d\\nmo", expected the form'),
    (0x18, b"de\xffo", 0x18, 'name: "de\\xffo", expected the form'),
    (0x38, b"c" * 128, 0x38, "compatible: string not terminated within 128 bytes"),
    (0x38, b"\0" * 128, 0x38, 'compatible: "", expected the form'),
    (0x38, b"kvm bp", 0x38, 'compatible: "kvm bp,demo", expected the form'),
    (0x38, b"\0", 0x38, 'compatible: "", expected the form'),
    (0x38 + 12, b"a b", 0x38 + 12, 'compatible: "a b", expected the form'),
    (0x38 + 13, b"a,b", 0x38 + 12, 'compatible: "", expected the form'),
    (0x38 + 12, b"a\0a", 0x38 + 14, 'compatible: "a" is there twice'),
    (0xB7, b"x", 0x38, "compatible: string not terminated within 128 bytes"),
    (0xB8, u32(2), 0xB8, "region 0: bus 2, expected 0 (MMIO) or 1 (PIO)"),
    (0xB8, u32(0x80000001), 0xB8, "region 0: bus 2147483649, expected"),
    (0xB8, region(bus=1, size=0x10001), 0xC0, "size 0x10001, expected at most 0x10000"),
    (0xB8, region(bus=1, size=0), 0xC0, "region 0: size 0, expected"),
    (0xBC, u32(1), 0xBC, "region 0: flags 0x1, expected 0"),
    (0xC0, bytes(8), 0xC0, "region 0: size 0, expected at least one byte"),
    (0xC0, b"\xff" * 8, 0xC0, "region 0: size 0xffffffffffffffff, expected at most"),
    (0xC0, struct.pack("<Q", (1 << 52) + 1), 0xC0, "expected at most 0x10000000000000"),
    (0xC8, b"\xff" * 8, 0xC8, "region 0: base 0xffffffffffffffff with size 0x1000 goes past"),
    (
        0xC8,
        struct.pack("<Q", (1 << 52) - 0xFFF),
        0xC8,
        "base 0xffffffffff001 with size 0x1000 goes past the end of MMIO, 0x10000000000000",
    ),
    (
        0xB8,
        region(bus=1, size=8, base=0xFFF9),
        0xC8,
        "region 0: base 0xfff9 with size 0x8 goes past the end of PIO, 0x10000",
    ),
    (
        0x150,
        region(base=0x1000) + region(base=0x100F),
        0x1F8,
        "region 2: base 0x100f with size 0x10 overlaps region 1 at 0x1000 with size 0x10",
    ),
    (
        0x150,
        region(base=0x1000, size=0x1000) + region(bus=1) + region(base=0x1800, size=1),
        0x290,
        "region 3: base 0x1800 with size 0x1 overlaps region 1",
    ),
    (0xD0, b"r" * 32, 0xD0, "region 0: read program: string not terminated"),
    (0xF0, b"w" * 32, 0xF0, "region 0: write program: string not terminated"),
    (0x110, b"w" * 32, 0x110, "region 0: call read program: string not terminated"),
    (0x130, b"w" * 32, 0x130, "region 0: call write program: string not terminated"),
    (0xD0, bytes(32), 0xD0, 'region 0: read program: "", expected the form'),
    (0x110, bytes(32), 0x110, 'region 0: call read program: "", expected the form'),
    (0x130, bytes(32), 0x130, 'region 0: call write program: "", expected the form'),
    (0xB8, bytes(152), 0xB8, "no region, expected at least one"),
    (0x1E8, region(), 0x150, "region 1 is empty before one that is not"),
    (0x577, b"\1", 0x150, "region 1 is empty before one that is not"),
]


@pytest.mark.parametrize(
    ("offset", "content", "where", "reason"),
    BROKEN,
    ids=[f"{offset:#x} {reason[:32]}" for offset, _, _, reason in BROKEN],
)
@pytest.mark.parametrize("properties", [(), (CLOCK,)], ids=["first", "second"])
def test_broken_device(
    offset: int, content: bytes, where: int, reason: str, properties: tuple[PropertySpec, ...]
) -> None:
    """Whether the device's note is the first, or another note comes before it."""
    device = bytearray(encode_device(DEMO))
    device[offset : offset + len(content)] = content
    before = b"".join(encode_note(PROPERTY, encode_property(item)) for item in properties)
    error = refused(before + encode_note(DEVICE, bytes(device)))
    assert reason in error.reason
    assert error.offset == len(before) + 20 + where


@pytest.mark.parametrize("size", [0, 4, 1396, 1404])
def test_device_of_another_size(size: int) -> None:
    content = encode_device(DEMO).ljust(size, b"\0")[:size]
    error = refused(encode_note(DEVICE, content))
    if size >= 4:
        assert error.reason == f"device content of {size} bytes, expected 1400"
    assert error.offset == 4


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((Bus.MMIO, 0x1000, 0x1000), (Bus.MMIO, 0x2000, 0x1000)),  # side by side
        ((Bus.MMIO, 0x2000, 0x1000), (Bus.MMIO, 0x1000, 0x1000)),
        ((Bus.MMIO, 0x1000, 0x1000), (Bus.PIO, 0x1000, 0x1000)),  # on two buses
        ((Bus.MMIO, 0x1000, 0x1000), (Bus.MMIO, None, 0x1000)),  # one of them anywhere
        ((Bus.MMIO, (1 << 52) - 1, 1), (Bus.PIO, 0xFFFF, 1)),  # at the very end
    ],
)
def test_places_that_do_not_overlap(
    first: tuple[Bus, int, int], second: tuple[Bus, int | None, int]
) -> None:
    regions = tuple(
        RegionSpec(index, bus, size, "r", "w", "cr", "cw", base)
        for index, (bus, base, size) in enumerate((first, second))
    )
    assert read(encode_notes(replace(DEMO, regions=regions))).regions == regions


VALUES = [
    "",
    "<1>",
    '"a", "b"',
    "<&intc 1 4>",
    "[00 ff]",
    '"a", <1>, [02]',
    '"\u00e9"',
    "<1>\n\t",
    '"' + "v" * 1021 + '"',
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_values(value: str) -> None:
    spec = replace(DEMO, properties=(PropertySpec("p", value),))
    assert read(encode_notes(spec)) == spec


def with_property(content: bytes) -> bytes:
    return encode_notes(DEMO) + encode_note(PROPERTY, content)


BROKEN_PROPERTIES = [
    (b"", b"<1>", 0x04, 'property name "": column 1: an empty property name'),
    (b"a b", b"<1>", 0x04, 'property name "a b": column 2: '),
    (b"a\nb", b"<1>", 0x04, 'property name "a\\nb": '),
    (b"\xff", b"<1>", 0x04, 'property name "\\xff": '),
    (b"p" * 32, b"<1>", 0x04, "property name: string not terminated within 32 bytes"),
    (b"p\0q", b"<1>", 0x04, "property name: bytes after the string's end"),
    (b"compatible", b'"a"', 0x04, 'property name "compatible": '),
    (b"reg", b"<1>", 0x04, 'property name "reg": '),
    (b"interrupts", b"<1>", 0x04, 'property name "interrupts": '),
    (b"interrupt-parent", b"<1>", 0x04, 'property name "interrupt-parent": '),
    (b"ranges", b"", 0x04, 'property name "ranges": '),
    (b"#address-cells", b"<1>", 0x04, 'property name "#address-cells": '),
    (b"#size-cells", b"<1>", 0x04, 'property name "#size-cells": '),
    (b"phandle", b"<1>", 0x04, 'property name "phandle": '),
    (b"p", b"<1", 0x24, "property p: value: column 1: < without its >"),
    (b"p", b"1", 0x24, "property p: value: column 1: "),
    (b"p", b'"\xff"', 0x25, "property p: not UTF-8 text"),
    (b"p", b"<1>\0<2>", 0x24, "property p: bytes after the string's end"),
    (b"p", b"\0\0\0\0\0", 0x24, "property p: 8 NULs after the value, expected 1 to 4"),
    (b"p", b"<4294967296>", 0x24, "property p: value: column 2: "),
]


@pytest.mark.parametrize(
    ("name", "value", "where", "reason"),
    BROKEN_PROPERTIES,
    ids=[reason[:40] for _, _, _, reason in BROKEN_PROPERTIES],
)
def test_broken_property(name: bytes, value: bytes, where: int, reason: str) -> None:
    padded = value + b"\0" + bytes(-(len(value) + 1) % 4)
    error = refused(with_property(struct.pack("<I32s", 2, name) + padded))
    assert reason in error.reason
    assert error.offset == 1420 + 20 + where


def test_a_value_without_an_end() -> None:
    error = refused(with_property(struct.pack("<I32s", 2, b"p") + b"<11>"))
    assert error.reason == "property p: string not terminated within 4 bytes"


@pytest.mark.parametrize("size", [4, 0x24, 0x27, 0x29, 0x24 + 1025, 0x24 + 1028])
def test_property_of_a_wrong_size(size: int) -> None:
    content = struct.pack("<I32s", 2, b"p").ljust(size, b"\0")[:size]
    error = refused(with_property(content))
    assert error.reason == (f"property content of {size} bytes, expected 40 to 1060 in steps of 4")
    assert error.offset == 1420 + 4
