# SPDX-License-Identifier: GPL-2.0-or-later
"""Read a device object: an ELF file that clang made with kvmbpf.bpf.h.

`read_device` gives what the device says it is; `read_object` also what the file
holds, each part decoded when it is asked for: programs, maps, state, and
what the kernel must have. The file is not trusted: sizes, offsets and counts
are checked before anything is followed, so that a damaged file costs little and
ends in a `BadFileError`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kvmbpf.errors import BadFileError
from kvmbpf.model.objfile.btf import Btf
from kvmbpf.model.objfile.btfext import BtfExt
from kvmbpf.model.objfile.elf import ElfImage
from kvmbpf.model.objfile.layout import MapInfo, StateInfo, read_maps, read_state
from kvmbpf.model.objfile.needs import INSTRUCTION_BYTES, CodeMap
from kvmbpf.model.objfile.notes import (
    NOTE_SECTION,
    REGION_BYTES,
    REGION_PROGRAMS,
    REGIONS_OFFSET,
    Notes,
    read_notes,
)
from kvmbpf.model.objfile.symbols import Symbol
from kvmbpf.model.spec import DeviceSpec

RESET_PROGRAM = "kvmbpf_reset"
CALL_RESET_PROGRAM = "kvmbpf_call_reset"

# Far above the six that kvmbpf.bpf.h makes.
MAX_PROGRAMS = 256

_FLAGS_OFFSET = 8


class EntryKind(enum.Enum):
    """How the kernel enters a program."""

    KERNEL = "kernel"  # through the struct_ops type of a patched kernel
    CALL = "call"  # as a syscall program, on any kernel
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """One BPF program.

    :param name: the C function's name.
    :param section: its ELF section, as ``struct_ops/kvmbpf_read``.
    :param offset: in the section, in bytes.
    :param instructions: how many, of 8 bytes each.
    """

    name: str
    section: str
    offset: int
    instructions: int

    @property
    def _type(self) -> str:
        return self.section.removeprefix("?").partition("/")[0]

    @property
    def entry(self) -> EntryKind:
        """How the kernel enters it, by its section's name."""
        if self._type in ("struct_ops", "struct_ops.s"):
            return EntryKind.KERNEL
        return EntryKind.CALL if self._type == "syscall" else EntryKind.OTHER

    @property
    def sleepable(self) -> bool:
        """Whether it may sleep."""
        return self._type.endswith(".s") or self.entry is EntryKind.CALL


def read_device(path: str | Path, content: bytes | None = None) -> DeviceSpec:
    """Read what the device in an object file says it is.

    :param path: the object file.
    :param content: what is in it, where the caller has it already.
    :raise BadFileError: when it cannot be read, is no BPF object, has no notes, or
        notes that are broken, of another format, or name absent programs.
    """
    return DeviceObject(path, content).spec


def read_object(path: str | Path) -> DeviceObject:
    """Read what an object file holds.

    :param path: the object file.
    :raise BadFileError: as `read_device`.
    """
    return DeviceObject(path)


class DeviceObject:
    """An object file with a device in it.

    :param path: the object file.
    :param content: what is in it, where the caller has it already.
    :raise BadFileError: as `read_device`.
    """

    def __init__(self, path: str | Path, content: bytes | None = None) -> None:
        self.path = Path(path)
        self.elf = ElfImage(self.path, content)
        notes = self._read_notes()
        self.spec: DeviceSpec = notes.spec
        self.programs: tuple[ProgramInfo, ...] = tuple(_programs(self.elf))
        _check_programs(self.elf, notes, self.programs)

    @cached_property
    def btf(self) -> Btf | None:
        """The object's types, or None when it has none.

        :raise BadFileError: when they are broken.
        """
        return Btf.of(self.elf)

    @cached_property
    def btf_ext(self) -> BtfExt | None:
        """Source lines and CO-RE relocations, or None when it has none.

        :raise BadFileError: when they are broken.
        """
        return None if self.btf is None else BtfExt.of(self.elf, self.btf)

    @cached_property
    def maps(self) -> tuple[MapInfo, ...]:
        """The maps that the object defines, the struct_ops maps included.

        :raise BadFileError: when symbols or types are broken.
        """
        return read_maps(self.elf, self.btf)

    @cached_property
    def state(self) -> tuple[StateInfo, ...]:
        """The global variables, which survive a hot update, by their place.

        :raise BadFileError: when symbols or types are broken.
        """
        return read_state(self.elf, self.btf)

    @cached_property
    def code(self) -> CodeMap:
        """What the programs call and touch."""
        return CodeMap(self.elf)

    def _read_notes(self) -> Notes:
        section = self.elf.section(NOTE_SECTION)
        if section is None:
            raise BadFileError(
                self.path,
                f"no section {NOTE_SECTION}: not a kvmbpf device; say what it is "
                "with KVMBPF_DEVICE() of kvmbpf.bpf.h",
            )
        if section.type != "SHT_NOTE":
            raise BadFileError(
                self.path,
                f"section type {section.type}, expected SHT_NOTE",
                section=NOTE_SECTION,
                offset=0,
            )
        return read_notes(self.path, self.elf.data(section), little_endian=self.elf.little_endian)


def _programs(elf: ElfImage) -> list[ProgramInfo]:
    """Return the functions in executable sections other than .text."""
    programs: list[ProgramInfo] = []
    for symbol in elf.functions():
        section = symbol.section
        if section is None or not section.executable:
            continue
        if section.name == ".text":  # functions that programs call
            continue
        if len(programs) == MAX_PROGRAMS:
            raise BadFileError(
                elf.path,
                f"more than {MAX_PROGRAMS} programs",
                section=section.name,
                offset=symbol.value,
            )
        _check_extent(elf, symbol)
        programs.append(
            ProgramInfo(symbol.name, section.name, symbol.value, symbol.size // INSTRUCTION_BYTES)
        )
    return programs


def _check_extent(elf: ElfImage, symbol: Symbol) -> None:
    """Refuse a program that is not whole instructions within its section."""
    section = symbol.section
    if section is None:
        return
    if symbol.size == 0 or symbol.size % INSTRUCTION_BYTES or symbol.value % INSTRUCTION_BYTES:
        reason = (
            f"program {symbol.name} of {symbol.size} bytes, "
            f"expected a multiple of {INSTRUCTION_BYTES} at one"
        )
    elif symbol.value + symbol.size > section.size:
        reason = f"program {symbol.name} of {symbol.size} bytes goes past the section's end"
    else:
        return
    raise BadFileError(elf.path, reason, section=section.name, offset=symbol.value)


def _check_programs(elf: ElfImage, notes: Notes, programs: tuple[ProgramInfo, ...]) -> None:
    """Refuse notes that name a program that is absent, or is of another kind."""
    found: dict[str, ProgramInfo] = {program.name: program for program in programs}

    def check(offset: int, what: str, name: str, macro: str, entry: EntryKind) -> None:
        program = found.get(name)
        if program is None:
            reason = f"program {name} is named here but not in the file; define it with {macro}()"
        elif program.entry is not entry:
            word = "struct_ops" if entry is EntryKind.KERNEL else "syscall"
            reason = f"program {name} is in section {program.section}, expected {word}"
        else:
            return
        raise BadFileError(
            elf.path, f"{what}: {reason}", section=NOTE_SECTION, offset=notes.device_offset + offset
        )

    spec = notes.spec
    for region in spec.regions:
        start = REGIONS_OFFSET + region.index * REGION_BYTES
        for field in REGION_PROGRAMS:
            name: str = getattr(region, field.name)
            entry = EntryKind.CALL if field.name.startswith("call_") else EntryKind.KERNEL
            if name:
                check(start + field.offset, f"region {region.index}", name, field.macro, entry)
    if spec.resets:
        check(_FLAGS_OFFSET, "flags", RESET_PROGRAM, "KVMBPF_RESET", EntryKind.KERNEL)
        if any(region.call_read_program for region in spec.regions):
            check(_FLAGS_OFFSET, "flags", CALL_RESET_PROGRAM, "KVMBPF_RESET", EntryKind.CALL)
