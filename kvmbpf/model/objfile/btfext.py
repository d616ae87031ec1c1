# SPDX-License-Identifier: GPL-2.0-or-later
"""The section ``.BTF.ext`` of an untrusted object: source lines, and CO-RE relocations.

Both are tables of records, one table a section of code. They are decoded when
they are asked for. A record of a newer compiler may be longer; what is past the
known part is left alone. Whatever goes wrong is a `BadFileError`.

Source: Documentation/bpf/btf.rst and struct bpf_core_relo in
include/uapi/linux/bpf.h, v6.12.
"""

from __future__ import annotations

import bisect
import posixpath
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kvmbpf.errors import BadFileError
from kvmbpf.model.objfile.btf import BTF_MAGIC, BTF_VERSION, Btf, Kind
from kvmbpf.model.objfile.elf import ElfImage

BTF_EXT_SECTION = ".BTF.ext"

# Far above what clang makes of a device: an instruction has one line, and a
# device some ten CO-RE relocations.
MAX_LINES = 1 << 16
MAX_CORE = 1 << 12
# Of members in members that one relocation goes through.
MAX_PATH = 16
# A line is looked for so many records back.
MAX_STEPS_BACK = 256

_HEADER_BYTES = 24  # without the CO-RE part, which came later
_CORE_HEADER_BYTES = 32
_RECORD_BYTES = 16
# BPF_CORE_FIELD_EXISTS, BPF_CORE_TYPE_ID_LOCAL, BPF_CORE_TYPE_EXISTS,
# BPF_CORE_ENUMVAL_EXISTS and BPF_CORE_TYPE_MATCHES.
_QUESTIONS = frozenset((2, 6, 8, 10, 12))


@dataclass(frozen=True, slots=True)
class SourceLine:
    """Where an instruction comes from.

    :param file: as the compiler was told it.
    :param line: from 1.
    :param column: from 1, or 0 where it is not known.
    :param text: the line itself.
    """

    file: str
    line: int
    column: int
    text: str


@dataclass(frozen=True, slots=True)
class CoreAccess:
    """A use of a type that is looked up in the kernel at load.

    :param section: of the instruction.
    :param offset: of the instruction in the section, in bytes.
    :param type_name: of the struct, union or enum, as ``kvm_bpf_access``.
    :param path: the members that lead to what is used, as ``region``; empty
        where it is the type itself.
    :param kind: what is asked (C ``enum bpf_core_relo_kind``).
    """

    section: str
    offset: int
    type_name: str
    path: str
    kind: int

    @property
    def asks_only(self) -> bool:
        """Whether the object loads where the kernel does not have it."""
        return self.kind in _QUESTIONS


class BtfExt:
    """What ``.BTF.ext`` of one object says.

    :param path: the object file, for errors.
    :param data: the section's content, relocated.
    :param btf: the object's types.
    :param little_endian: the byte order of the file's numbers.
    :raise BadFileError: when the header is wrong.
    """

    def __init__(self, path: Path, data: bytes, btf: Btf, *, little_endian: bool) -> None:
        self._path = path
        self._data = data
        self._btf = btf
        self._order = "<" if little_endian else ">"
        self._lines, self._core = self._read_header()

    @classmethod
    def of(cls, elf: ElfImage, btf: Btf) -> BtfExt | None:
        """Return the section of an object, or None when it has none.

        :raise BadFileError: when its header is wrong.
        """
        section = elf.section(BTF_EXT_SECTION)
        if section is None:
            return None
        return cls(elf.path, elf.relocated(section), btf, little_endian=elf.little_endian)

    def line_of(
        self, section: str, offset: int, *, start: int = 0, without: str = ""
    ) -> SourceLine | None:
        """Return the source line of an instruction, or None where it is not known.

        :param section: the section's name.
        :param offset: of the instruction, in bytes.
        :param start: of its function, in bytes: no line before that is its line.
        :param without: how the names of files begin that do not count: the last
            line before the instruction that is of another is returned.
        :raise BadFileError: when the table of lines is broken.
        """
        records = self._line_records.get(section, [])
        place = bisect.bisect_right(records, offset, key=lambda record: record[0])
        for record in reversed(records[max(0, place - MAX_STEPS_BACK) : place]):
            where, file, text, position = record
            if where < start:
                break
            name = posixpath.normpath(self._btf.string(file))
            if not without or not name.startswith(without):
                return SourceLine(
                    name, position >> 10, position & 0x3FF, self._btf.string(text).strip()
                )
        return None

    @cached_property
    def core_accesses(self) -> tuple[CoreAccess, ...]:
        """All CO-RE relocations.

        :raise BadFileError: when the table is broken, or names what is not there.
        """
        return tuple(
            CoreAccess(section, offset, *self._accessed(type_id, access), kind)
            for section, (offset, type_id, access, kind) in self._records(*self._core, MAX_CORE)
        )

    @cached_property
    def _line_records(self) -> dict[str, list[tuple[int, ...]]]:
        found: dict[str, list[tuple[int, ...]]] = {}
        for section, record in self._records(*self._lines, MAX_LINES):
            if record[3] >> 10:  # line 0: nobody's
                found.setdefault(section, []).append(record)
        for records in found.values():
            records.sort()
        return found

    def _read_header(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return start and size of the lines, and of the CO-RE relocations."""
        if len(self._data) < _HEADER_BYTES:
            raise self._bad(len(self._data), f"ends here, expected a header of {_HEADER_BYTES}")
        magic, version, _, length = struct.unpack_from(self._order + "HBBI", self._data)
        if magic != BTF_MAGIC:
            raise self._bad(0, f"magic {magic:#06x}, expected {BTF_MAGIC:#06x}")
        if version != BTF_VERSION:
            raise self._bad(2, f"BTF version {version}, expected {BTF_VERSION}")
        if not _HEADER_BYTES <= length <= len(self._data):
            raise self._bad(
                4, f"header of {length} bytes, expected {_HEADER_BYTES} to {len(self._data)}"
            )
        core = (length, 0)
        if length >= _CORE_HEADER_BYTES:
            core = self._part(24, length, "CO-RE relocations")
        return self._part(16, length, "line info"), core

    def _part(self, place: int, base: int, what: str) -> tuple[int, int]:
        offset, size = struct.unpack_from(self._order + "2I", self._data, place)
        if base + offset + size > len(self._data):
            raise self._bad(
                place,
                f"{what}: {size} bytes at {base + offset:#x} go past the section's end, "
                f"{len(self._data)} bytes in all",
            )
        return base + offset, size

    def _records(self, start: int, size: int, most: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Go through a table of so many records at most, each with its section's name."""
        if size == 0:
            return
        end = start + size
        form = struct.Struct(self._order + "4I")
        record_bytes = self._u32(start, end)
        if record_bytes < _RECORD_BYTES or record_bytes % 4:
            raise self._bad(
                start, f"records of {record_bytes} bytes, expected {_RECORD_BYTES} or more"
            )
        start += 4
        left = most
        while start < end:
            name, count = self._u32(start, end), self._u32(start + 4, end)
            section = self._btf.string(name)
            left -= count
            if left < 0:
                raise self._bad(start + 4, f"more than {most} records")
            start += 8
            if start + count * record_bytes > end:
                raise self._bad(
                    start - 4, f"{count} records of {record_bytes} bytes go past the table's end"
                )
            for _ in range(count):
                yield section, form.unpack_from(self._data, start)
                start += record_bytes

    def _accessed(self, type_id: int, access: int) -> tuple[str, str]:
        """Return the name of the type, and the path of members in it."""
        found = self._btf.get(type_id)
        numbers = self._btf.string(access).split(":")
        # The first number is an index, as of an array of such types.
        path: list[str] = []
        name = found.name
        found = self._btf.resolve(type_id)
        for number in numbers[1 : MAX_PATH + 1]:
            index = int(number) if number.isdecimal() and number.isascii() else -1
            if found.kind is Kind.ARRAY:
                found = self._btf.resolve(found.target)
            elif found.kind in (Kind.STRUCT, Kind.UNION) and 0 <= index < found.count:
                member = self._btf.member(found, index)
                path += [member.name] if member.name else []
                found = self._btf.resolve(member.type_id)
            else:
                raise self._bad(None, f"no member {number} in {self._btf.declaration(type_id)}")
        return (name or found.name).partition("___")[0], ".".join(path)

    def _u32(self, offset: int, end: int) -> int:
        if offset + 4 > end:
            raise self._bad(offset, "the table ends within a number")
        value: int = struct.unpack_from(self._order + "I", self._data, offset)[0]
        return value

    def _bad(self, offset: int | None, reason: str) -> BadFileError:
        return BadFileError(self._path, reason, section=BTF_EXT_SECTION, offset=offset)
