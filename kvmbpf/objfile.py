# SPDX-License-Identifier: GPL-2.0-or-later
"""Read a device object: an ELF file that clang made with kvmbpf.bpf.h.

`read_device` gives what the device says it is, `read_object` also what the
file holds: programs, maps, state. The file is not trusted. pyelftools decodes
the ELF structures; sizes, offsets and counts are checked here before anything
is followed, so that a damaged file costs little and ends in a `BadFileError`.

Section ``.note.kvmbpf`` holds one ELF note, aligned to 4 bytes, all numbers in
the byte order of the file. Strings are NUL-terminated and NUL-filled::

    offset  bytes  content
     0x000      4  namesz = 7
     0x004      4  descsz = 760
     0x008      4  type = 1 (device)
     0x00c      8  owner "KVMBPF", NUL, and one byte of padding
     0x014      4  format = 1: version of this layout
     0x018      4  version of the device's state schema, 1 and up
     0x01c      4  flags = 0
     0x020      4  irqs: how many, 0 to 32
     0x024      4  level_irqs: bit i set: irq i is level-triggered, else edge
     0x028      4  reserved = 0
     0x02c     32  name
     0x04c     64  compatible
     0x08c    640  8 regions of 80 bytes; unused ones come last, all zero:
            +0x00      4  bus: 0 = MMIO, 1 = PIO
            +0x04      4  flags = 0
            +0x08      8  size in bytes, not 0; on PIO at most 0x10000
            +0x10     32  name of the program that answers reads
            +0x30     32  name of the program that answers writes
     0x30c         end

Source: kvmbpf/bpf/kvmbpf.bpf.h, which writes it.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kvmbpf.elffile import ElfImage, Symbol, printable
from kvmbpf.errors import BadFileError
from kvmbpf.spec import Bus, DeviceSpec, IrqSpec, RegionSpec, Trigger

NOTE_SECTION = ".note.kvmbpf"
NOTE_OWNER = b"KVMBPF\0"
NOTE_FORMAT = 1
NOTE_DEVICE = 1

MAX_REGIONS = 8
MAX_IRQS = 32
# No CPU that KVM runs on has more physical address bits than 52; ports have 16.
MAX_REGION_BYTES = {Bus.MMIO: 1 << 52, Bus.PIO: 1 << 16}

_SHT_NOTE = "SHT_NOTE"
_NOTE_BYTES = 0x30C
_DESC_BYTES = 760
_REGIONS_OFFSET = 0x8C
_REGION_BYTES = 80
_INSTRUCTION_BYTES = 8

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_COMPATIBLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9,._+/@-]*\Z")


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """One BPF program.

    :param name: the C function's name.
    :param section: its ELF section, as ``struct_ops/kvmbpf_read``.
    :param instructions: how many, of 8 bytes each.
    """

    name: str
    section: str
    instructions: int


@dataclass(frozen=True, slots=True)
class VariableInfo:
    """One variable of the object: a map's definition or a piece of state.

    :param name: the C variable's name.
    :param section: its ELF section, as ``.bss``.
    :param size: in bytes.
    """

    name: str
    section: str
    size: int


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What an object holds.

    :param spec: what the device says it is.
    :param programs: the programs, in the file's order.
    :param maps: the maps that the author defined, and the struct_ops maps.
    :param state: the global variables, which survive a hot update, by their place.
    """

    spec: DeviceSpec
    programs: tuple[ProgramInfo, ...]
    maps: tuple[VariableInfo, ...]
    state: tuple[VariableInfo, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the content as a dictionary that `json.dumps` takes."""
        return {
            "device": self.spec.to_json(),
            "programs": [
                {"name": item.name, "section": item.section, "instructions": item.instructions}
                for item in self.programs
            ],
            "maps": [{"name": item.name, "section": item.section} for item in self.maps],
            "state": [
                {"name": item.name, "section": item.section, "size": item.size}
                for item in self.state
            ],
        }


def read_device(path: str | Path) -> DeviceSpec:
    """Read what the device in an object file says it is.

    :param path: the object file.
    :raise BadFileError: when it cannot be read, is no BPF object, has no note, or
        a note that is broken, newer than this reader, or names absent programs.
    """
    return read_object(path).spec


def read_object(path: str | Path) -> ObjectInfo:
    """Read what an object file holds.

    :param path: the object file.
    :raise BadFileError: as `read_device`.
    """
    elf = ElfImage(Path(path))
    spec = _NoteReader(elf).read()
    symbols = elf.symbols()
    programs = tuple(_programs(elf, symbols))
    _check_programs(elf, spec, programs)
    return ObjectInfo(
        spec=spec,
        programs=programs,
        maps=tuple(_variables(symbols, (".maps", ".struct_ops"))),
        state=tuple(_variables(symbols, (".bss", ".data"))),
    )


class _NoteReader:
    """Decode the note of one object, checking every byte of it."""

    def __init__(self, elf: ElfImage) -> None:
        self._elf = elf
        self._order = "<" if elf.little_endian else ">"
        self._data = b""

    def read(self) -> DeviceSpec:
        """Return the device that the note describes."""
        section = self._elf.section(NOTE_SECTION)
        if section is None:
            raise BadFileError(
                self._elf.path,
                f"no section {NOTE_SECTION}: not a kvmbpf device; say what it is "
                "with KVMBPF_DEVICE() of kvmbpf.bpf.h",
            )
        if section.type != _SHT_NOTE:
            raise self._bad(0, f"section type {section.type}, expected {_SHT_NOTE}")
        self._data = self._elf.data(section)
        self._check_header()
        return DeviceSpec(
            name=self._text(0x2C, 32, "name", _IDENTIFIER),
            compatible=(self._text(0x4C, 64, "compatible", _COMPATIBLE),),
            version=self._version(),
            regions=self._regions(),
            irqs=self._irqs(),
        )

    def _check_header(self) -> None:
        if len(self._data) < 0x18:
            raise self._bad(
                len(self._data), f"note ends here, expected {_NOTE_BYTES:#x} bytes in all"
            )
        owner_bytes, desc_bytes, kind = (self._u32(offset) for offset in (0, 4, 8))
        owner = self._data[0xC:0x14]
        if owner_bytes != len(NOTE_OWNER) or owner != NOTE_OWNER + b"\0":
            shown = printable(owner[: min(owner_bytes, 8)].rstrip(b"\0"))
            raise self._bad(
                0xC, f'note owner "{shown}" of {owner_bytes} bytes, expected "KVMBPF" of 7'
            )
        if kind != NOTE_DEVICE:
            raise self._bad(8, f"note type {kind}, expected {NOTE_DEVICE} (device)")
        found = self._u32(0x14)
        if found > NOTE_FORMAT:
            raise self._bad(
                0x14,
                f"note format {found}, this kvmbpf reads format {NOTE_FORMAT}; "
                "use a newer kvmbpf or compile the device with this one's header",
            )
        if found != NOTE_FORMAT:
            raise self._bad(0x14, f"note format {found}, expected {NOTE_FORMAT}")
        if desc_bytes != _DESC_BYTES:
            raise self._bad(4, f"note content of {desc_bytes} bytes, expected {_DESC_BYTES}")
        if len(self._data) < _NOTE_BYTES:
            raise self._bad(
                len(self._data), f"note ends here, expected {_NOTE_BYTES:#x} bytes in all"
            )
        if len(self._data) > _NOTE_BYTES:
            raise self._bad(_NOTE_BYTES, "more after the device's note, expected the section's end")
        self._zero(0x1C, "flags")
        self._zero(0x28, "reserved field")

    def _version(self) -> int:
        version = self._u32(0x18)
        if version == 0:
            raise self._bad(0x18, "version 0, expected 1 or more")
        return version

    def _irqs(self) -> tuple[IrqSpec, ...]:
        count, level = self._u32(0x20), self._u32(0x24)
        if count > MAX_IRQS:
            raise self._bad(0x20, f"{count} irqs, expected at most {MAX_IRQS}")
        if level >> count:
            raise self._bad(0x24, f"level_irqs {level:#x} names an irq past the {count} there are")
        return tuple(
            IrqSpec(index, Trigger.LEVEL if level >> index & 1 else Trigger.EDGE)
            for index in range(count)
        )

    def _regions(self) -> tuple[RegionSpec, ...]:
        offsets = [_REGIONS_OFFSET + index * _REGION_BYTES for index in range(MAX_REGIONS)]
        used = [any(self._data[offset : offset + _REGION_BYTES]) for offset in offsets]
        count = used.index(False) if False in used else MAX_REGIONS
        if count == 0:
            raise self._bad(_REGIONS_OFFSET, "no region, expected at least one")
        if any(used[count:]):
            raise self._bad(offsets[count], f"region {count} is empty before one that is not")
        return tuple(self._region(index, offsets[index]) for index in range(count))

    def _region(self, index: int, offset: int) -> RegionSpec:
        what = f"region {index}"
        bus = self._bus(offset, what)
        self._zero(offset + 4, f"{what}: flags")
        (size,) = struct.unpack_from(f"{self._order}Q", self._data, offset + 8)
        if size == 0:
            raise self._bad(offset + 8, f"{what}: size 0, expected at least one byte")
        largest = MAX_REGION_BYTES[bus]
        if size > largest:
            raise self._bad(offset + 8, f"{what}: size {size:#x}, expected at most {largest:#x}")
        return RegionSpec(
            index=index,
            bus=bus,
            size=size,
            read_program=self._text(offset + 0x10, 32, f"{what}: read program", _IDENTIFIER),
            write_program=self._text(offset + 0x30, 32, f"{what}: write program", _IDENTIFIER),
        )

    def _bus(self, offset: int, what: str) -> Bus:
        number = self._u32(offset)
        if number not in (bus.value for bus in Bus):
            known = " or ".join(f"{bus.value} ({bus.name})" for bus in Bus)
            raise self._bad(offset, f"{what}: bus {number}, expected {known}")
        return Bus(number)

    def _u32(self, offset: int) -> int:
        value: int = struct.unpack_from(f"{self._order}I", self._data, offset)[0]
        return value

    def _zero(self, offset: int, what: str) -> None:
        value = self._u32(offset)
        if value != 0:
            raise self._bad(offset, f"{what} {value:#x}, expected 0")

    def _text(self, offset: int, size: int, what: str, form: re.Pattern[str]) -> str:
        raw = self._data[offset : offset + size]
        text, _, rest = raw.partition(b"\0")
        if len(text) == size:
            raise self._bad(offset, f"{what}: string not terminated within {size} bytes")
        if any(rest):
            raise self._bad(offset, f"{what}: bytes after the string's end, expected zeros")
        value = printable(text)
        if not form.match(value):
            raise self._bad(offset, f'{what}: "{value}", expected the form {form.pattern[:-2]}')
        return value

    def _bad(self, offset: int, reason: str) -> BadFileError:
        return BadFileError(self._elf.path, reason, section=NOTE_SECTION, offset=offset)


def _programs(elf: ElfImage, symbols: list[Symbol]) -> list[ProgramInfo]:
    """Return the functions in executable sections other than .text."""
    programs = []
    for symbol in symbols:
        section = symbol.section
        if symbol.type != "STT_FUNC" or section is None or not section.executable:
            continue
        if section.name == ".text":  # functions that programs call
            continue
        if symbol.size == 0 or symbol.size % _INSTRUCTION_BYTES:
            raise BadFileError(
                elf.path,
                f"program {symbol.name} of {symbol.size} bytes, "
                f"expected a multiple of {_INSTRUCTION_BYTES}",
                section=section.name,
                offset=symbol.value,
            )
        if symbol.value + symbol.size > section.size:
            raise BadFileError(
                elf.path,
                f"program {symbol.name} of {symbol.size} bytes goes past the section's end",
                section=section.name,
                offset=symbol.value,
            )
        programs.append(ProgramInfo(symbol.name, section.name, symbol.size // _INSTRUCTION_BYTES))
    return programs


def _check_programs(elf: ElfImage, spec: DeviceSpec, programs: tuple[ProgramInfo, ...]) -> None:
    names = {program.name for program in programs}
    for region in spec.regions:
        for name, macro, field in (
            (region.read_program, "KVMBPF_READ", 0x10),
            (region.write_program, "KVMBPF_WRITE", 0x30),
        ):
            if name not in names:
                raise BadFileError(
                    elf.path,
                    f"region {region.index}: program {name} is named here but not in the file; "
                    f"define it with {macro}()",
                    section=NOTE_SECTION,
                    offset=_REGIONS_OFFSET + region.index * _REGION_BYTES + field,
                )


def _variables(symbols: list[Symbol], sections: tuple[str, ...]) -> list[VariableInfo]:
    """Return the objects in these sections and in their dotted children, by place."""
    found = [
        (symbol.section.name, symbol.value, symbol.name, symbol.size)
        for symbol in symbols
        if symbol.type == "STT_OBJECT"
        and symbol.section is not None
        and any(
            symbol.section.name == name or symbol.section.name.startswith(f"{name}.")
            for name in sections
        )
    ]
    return [VariableInfo(name, section, size) for section, _, name, size in sorted(found)]
