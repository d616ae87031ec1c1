# SPDX-License-Identifier: GPL-2.0-or-later
"""The notes in which a device object says what the device is.

They are the content of the ELF section ``.note.kvmbpf``; docs/note-format.md
describes them byte by byte. Every byte is checked before it is believed: what
is accepted has one way only to be written down. The effort is linear in the
section's size, and the number of notes is bounded.

Source: kvmbpf/author/bpf/kvmbpf.bpf.h, which writes them.
"""

from __future__ import annotations

import enum
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kvmbpf.errors import BadFileError
from kvmbpf.model.dts import DtsError, check_property_name, parse_value
from kvmbpf.model.objfile.symbols import printable
from kvmbpf.model.spec import Bus, DeviceSpec, IrqSpec, PropertySpec, RegionSpec, Trigger

NOTE_SECTION = ".note.kvmbpf"
NOTE_OWNER = b"KVMBPF\0"
NOTE_FORMAT = 2
# An unknown type with this bit may be skipped.
NOTE_OPTIONAL = 1 << 31
# Flags of a device.
FLAG_RESETS = 1
FLAG_CONCURRENT = 2

MAX_NOTES = 1024
MAX_REGIONS = 8
MAX_IRQS = 32
MAX_PROPERTIES = 64
MAX_VALUE_BYTES = 1024
# No CPU that KVM runs on has more physical address bits than 52; ports have 16.
BUS_END = {Bus.MMIO: 1 << 52, Bus.PIO: 1 << 16}

# A note's head: three numbers, the owner and a byte of padding.
HEAD_BYTES = 20
DEVICE_BYTES = 1400
REGIONS_OFFSET = 0xB8
REGION_BYTES = 152
VALUE_OFFSET = 0x24

_NAME_BYTES = 32
_COMPATIBLE_BYTES = 128
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_COMPATIBLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9,._+/@-]*\Z")


class NoteType(enum.IntEnum):
    """What a note is about (C ``__u32``)."""

    DEVICE = 1
    PROPERTY = 2


@dataclass(frozen=True, slots=True)
class RegionField:
    """A program's name in a region of the note.

    :param name: of the attribute of `RegionSpec`.
    :param offset: in the region, in bytes.
    :param macro: of kvmbpf.bpf.h, which defines the program.
    """

    name: str
    offset: int
    macro: str


REGION_PROGRAMS = (
    RegionField("read_program", 0x18, "KVMBPF_READ"),
    RegionField("write_program", 0x38, "KVMBPF_WRITE"),
    RegionField("call_read_program", 0x58, "KVMBPF_READ"),
    RegionField("call_write_program", 0x78, "KVMBPF_WRITE"),
)


@dataclass(frozen=True, slots=True)
class Notes:
    """What the notes of an object say.

    :param spec: the device.
    :param device_offset: of the device's content in the section, in bytes.
    """

    spec: DeviceSpec
    device_offset: int


def read_notes(path: Path, data: bytes, *, little_endian: bool) -> Notes:
    """Decode the content of the section ``.note.kvmbpf``.

    :param path: the object file, for errors.
    :param data: the section's content.
    :param little_endian: the byte order of the file's numbers.
    :raise BadFileError: when it is not one device and its properties, of this
        format, and nothing else but notes that may be skipped.
    """
    device: _Content | None = None
    properties: dict[str, PropertySpec] = {}
    for kind, content in _walk(path, data, "<" if little_endian else ">"):
        if kind == NoteType.DEVICE:
            if device is not None:
                raise content.bad(
                    -HEAD_BYTES,
                    "a second device note, expected one; KVMBPF_DEVICE() appears once in an object",
                )
            device = content
            spec = _device(content)
        else:
            _add_property(properties, content)
    if device is None:
        raise BadFileError(
            path,
            f"no device note among {len(properties)} of properties, expected one; "
            "say what the device is with KVMBPF_DEVICE() of kvmbpf.bpf.h",
            section=NOTE_SECTION,
        )
    return Notes(replace(spec, properties=tuple(properties.values())), device.start)


@dataclass(frozen=True, slots=True)
class _Content:
    """The content of one note, and what errors need to say where it is."""

    path: Path
    data: bytes  # of the section
    order: str
    start: int
    size: int

    def bad(self, offset: int, reason: str) -> BadFileError:
        """Return an error about a place in the content."""
        return BadFileError(self.path, reason, section=NOTE_SECTION, offset=self.start + offset)

    def u32(self, offset: int) -> int:
        value: int = struct.unpack_from(f"{self.order}I", self.data, self.start + offset)[0]
        return value

    def u64(self, offset: int) -> int:
        value: int = struct.unpack_from(f"{self.order}Q", self.data, self.start + offset)[0]
        return value

    def raw(self, offset: int, size: int) -> bytes:
        return self.data[self.start + offset : self.start + offset + size]

    def zero(self, offset: int, what: str) -> None:
        """Refuse a number that is not 0."""
        value = self.u32(offset)
        if value != 0:
            raise self.bad(offset, f"{what} {value:#x}, expected 0")

    def string(self, offset: int, size: int, what: str) -> bytes:
        """Return a string that ends with NULs to fill its field."""
        text, _, rest = self.raw(offset, size).partition(b"\0")
        if len(text) == size:
            raise self.bad(offset, f"{what}: string not terminated within {size} bytes")
        if rest.count(0) != len(rest):
            raise self.bad(offset, f"{what}: bytes after the string's end, expected zeros")
        return text

    def identifier(self, offset: int, what: str) -> str:
        return self.formed(offset, what, self.string(offset, _NAME_BYTES, what), _IDENTIFIER)

    def formed(self, offset: int, what: str, text: bytes, form: re.Pattern[str]) -> str:
        value = printable(text)
        if not form.match(value):
            raise self.bad(offset, f'{what}: "{value}", expected the form {form.pattern[:-2]}')
        return value


def _walk(path: Path, data: bytes, order: str) -> Iterator[tuple[NoteType, _Content]]:
    """Go from note to note; each content that is given lies within the section."""

    def bad(offset: int, reason: str) -> BadFileError:
        return BadFileError(path, reason, section=NOTE_SECTION, offset=offset)

    start = count = 0
    while start < len(data):
        count += 1
        if count > MAX_NOTES:
            raise bad(start, f"more than {MAX_NOTES} notes")
        if len(data) - start < HEAD_BYTES:
            raise bad(
                start,
                f"{len(data) - start} bytes after the last whole note, "
                f"expected the section's end or a note's head of {HEAD_BYTES}",
            )
        owner_bytes, size, kind = struct.unpack_from(f"{order}3I", data, start)
        owner = data[start + 12 : start + HEAD_BYTES]
        if owner_bytes != len(NOTE_OWNER) or owner != NOTE_OWNER + b"\0":
            shown = printable(owner[: min(owner_bytes, 8)].rstrip(b"\0"))
            raise bad(
                start + 12, f'note owner "{shown}" of {owner_bytes} bytes, expected "KVMBPF" of 7'
            )
        content = _Content(path, data, order, start + HEAD_BYTES, size)
        left = len(data) - content.start
        if size > left:
            raise bad(
                start + 4, f"note content of {size} bytes, but the section ends after {left} of it"
            )
        if kind in (NoteType.DEVICE, NoteType.PROPERTY):
            _check_format(content)
            yield NoteType(kind), content
        elif not kind & NOTE_OPTIONAL:
            raise bad(
                start + 8,
                f"note type {kind:#x}, this kvmbpf knows 1 (device) and 2 (property); "
                "use a newer kvmbpf",
            )
        start = _next_note(content)


def _next_note(content: _Content) -> int:
    """Return where the next note starts, past the padding to 4 bytes."""
    padding = -content.size % 4
    if content.raw(content.size, padding) != bytes(padding):
        raise content.bad(
            content.size, f"note content of {content.size} bytes without {padding} zeros behind it"
        )
    return content.start + content.size + padding


def _check_format(content: _Content) -> None:
    if content.size < 4:
        raise content.bad(
            4 - HEAD_BYTES, f"note content of {content.size} bytes, expected its format in 4"
        )
    found = content.u32(0)
    if found > NOTE_FORMAT:
        raise content.bad(
            0,
            f"note format {found}, this kvmbpf reads format {NOTE_FORMAT}; "
            "use a newer kvmbpf or compile the device with this one's header",
        )
    if found < NOTE_FORMAT:
        raise content.bad(
            0,
            f"note format {found}, this kvmbpf reads format {NOTE_FORMAT}; "
            "compile the device again with this one's header",
        )


# ---- the device ------------------------------------------------------------


def _device(content: _Content) -> DeviceSpec:
    if content.size != DEVICE_BYTES:
        raise content.bad(
            4 - HEAD_BYTES, f"device content of {content.size} bytes, expected {DEVICE_BYTES}"
        )
    version = content.u32(4)
    if version == 0:
        raise content.bad(4, "version 0, expected 1 or more")
    flags = _flags(content)
    irqs = _irqs(content)
    content.zero(0x14, "reserved field")
    return DeviceSpec(
        name=content.identifier(0x18, "name"),
        compatible=_compatible(content),
        version=version,
        regions=_regions(content),
        irqs=irqs,
        resets=bool(flags & FLAG_RESETS),
        concurrent=bool(flags & FLAG_CONCURRENT),
    )


def _flags(content: _Content) -> int:
    value = content.u32(8)
    if value & ~(FLAG_RESETS | FLAG_CONCURRENT):
        raise content.bad(
            8,
            f"flags {value:#x}, this kvmbpf knows 0x1 (KVMBPF_RESETS) and 0x2 "
            "(KVMBPF_CONCURRENT); use a newer kvmbpf",
        )
    return value


def _irqs(content: _Content) -> tuple[IrqSpec, ...]:
    count, level = content.u32(0xC), content.u32(0x10)
    if count > MAX_IRQS:
        raise content.bad(0xC, f"{count} irqs, expected at most {MAX_IRQS}")
    if level >> count:
        raise content.bad(0x10, f"level_irqs {level:#x} names an irq past the {count} there are")
    return tuple(
        IrqSpec(index, Trigger.LEVEL if level >> index & 1 else Trigger.EDGE)
        for index in range(count)
    )


def _compatible(content: _Content) -> tuple[str, ...]:
    offset = 0x38
    raw = content.raw(offset, _COMPATIBLE_BYTES)
    if raw[-1]:
        raise content.bad(
            offset, f"compatible: string not terminated within {_COMPATIBLE_BYTES} bytes"
        )
    found: list[str] = []
    at = offset
    for part in raw.rstrip(b"\0").split(b"\0"):
        value = content.formed(at, "compatible", part, _COMPATIBLE)
        if value in found:
            raise content.bad(at, f'compatible: "{value}" is there twice')
        found.append(value)
        at += len(part) + 1
    return tuple(found)


def _regions(content: _Content) -> tuple[RegionSpec, ...]:
    offsets = [REGIONS_OFFSET + index * REGION_BYTES for index in range(MAX_REGIONS)]
    used = [any(content.raw(offset, REGION_BYTES)) for offset in offsets]
    count = used.index(False) if False in used else MAX_REGIONS
    if any(used[count:]):
        raise content.bad(offsets[count], f"region {count} is empty before one that is not")
    if count == 0:
        raise content.bad(REGIONS_OFFSET, "no region, expected at least one")
    regions = tuple(_region(content, index, offsets[index]) for index in range(count))
    _check_overlaps(content, regions)
    return regions


def _region(content: _Content, index: int, offset: int) -> RegionSpec:
    what = f"region {index}"
    bus = _bus(content, offset, what)
    content.zero(offset + 4, f"{what}: flags")
    size, base = content.u64(offset + 8), content.u64(offset + 0x10)
    end = BUS_END[bus]
    if size == 0:
        raise content.bad(offset + 8, f"{what}: size 0, expected at least one byte")
    if size > end:
        raise content.bad(offset + 8, f"{what}: size {size:#x}, expected at most {end:#x}")
    if base + size > end:
        raise content.bad(
            offset + 0x10,
            f"{what}: base {base:#x} with size {size:#x} goes past the end of {bus.name}, {end:#x}",
        )
    read, write, call_read, call_write = _region_programs(content, offset, what)
    return RegionSpec(index, bus, size, read, write, call_read, call_write, base or None)


def _region_programs(content: _Content, offset: int, what: str) -> list[str]:
    """Return the four names; those of the call entry may both be empty."""
    names = []
    call = offset + REGION_PROGRAMS[2].offset
    without_call = not any(content.raw(call, 2 * _NAME_BYTES))
    for field in REGION_PROGRAMS:
        optional = field.name.startswith("call_")
        called = f"{what}: {field.name.replace('_', ' ')}"
        names.append(
            "" if optional and without_call else content.identifier(offset + field.offset, called)
        )
    return names


def _bus(content: _Content, offset: int, what: str) -> Bus:
    number = content.u32(offset)
    if number not in (Bus.MMIO, Bus.PIO):
        known = " or ".join(f"{bus.value} ({bus.name})" for bus in Bus)
        raise content.bad(offset, f"{what}: bus {number}, expected {known}")
    return Bus(number)


def _check_overlaps(content: _Content, regions: tuple[RegionSpec, ...]) -> None:
    """Refuse two regions that must be in one place."""
    based = [(region, region.base) for region in regions if region.base is not None]
    for position, (region, base) in enumerate(based):
        for other, other_base in based[:position]:
            if (
                region.bus is other.bus
                and base < other_base + other.size
                and other_base < base + region.size
            ):
                raise content.bad(
                    REGIONS_OFFSET + region.index * REGION_BYTES + 0x10,
                    f"region {region.index}: base {base:#x} with size {region.size:#x} overlaps "
                    f"region {other.index} at {other_base:#x} with size {other.size:#x}",
                )


# ---- properties -------------------------------------------------------------


def _add_property(properties: dict[str, PropertySpec], content: _Content) -> None:
    found = _property(content)
    if found.name in properties:
        raise content.bad(4, f"property {found.name} is there twice")
    if len(properties) == MAX_PROPERTIES:
        raise content.bad(-HEAD_BYTES, f"more than {MAX_PROPERTIES} properties")
    properties[found.name] = found


def _property(content: _Content) -> PropertySpec:
    longest = VALUE_OFFSET + MAX_VALUE_BYTES
    if content.size % 4 or not VALUE_OFFSET + 4 <= content.size <= longest:
        raise content.bad(
            4 - HEAD_BYTES,
            f"property content of {content.size} bytes, expected {VALUE_OFFSET + 4} to {longest} "
            "in steps of 4",
        )
    raw_name = content.string(4, _NAME_BYTES, "property name")
    name = printable(raw_name)
    try:
        check_property_name(name)
    except DtsError as error:
        raise content.bad(4, f'property name "{name}": {error}') from error
    return PropertySpec(name, _value(content, name))


def _value(content: _Content, name: str) -> str:
    what = f"property {name}"
    size = content.size - VALUE_OFFSET
    raw = content.string(VALUE_OFFSET, size, what)
    if size - len(raw) > 4:
        raise content.bad(
            VALUE_OFFSET, f"{what}: {size - len(raw)} NULs after the value, expected 1 to 4"
        )
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise content.bad(VALUE_OFFSET + error.start, f"{what}: not UTF-8 text") from error
    try:
        parse_value(text)
    except DtsError as error:
        raise content.bad(VALUE_OFFSET, f"{what}: value: {error}") from error
    return text
