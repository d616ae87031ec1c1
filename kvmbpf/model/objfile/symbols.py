# SPDX-License-Identifier: GPL-2.0-or-later
"""What an ELF file's tables have in them: sections, symbols, and their names.

A file has hundreds of symbols of which most are labels, so a symbol is made when
it is asked for. `kvmbpf.model.objfile.elf` reads the tables.
"""

from __future__ import annotations

import array
import struct
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from elftools.elf import enums

from kvmbpf.errors import BadFileError

MAX_NAME_BYTES = 255
# What `printable` leaves as it is, and the NUL.
_PLAIN = bytes((0, *range(0x20, 0x7F)))

SYMBOL_BYTES = 24
_SYMBOL = "IBBHQQ"
_INFO_OFFSET = 4

_STT_OBJECT = 1
_STT_FUNC = 2
_SHF_EXECINSTR = 4
_NATIVE_ORDER = "<" if sys.byteorder == "little" else ">"
SHN_LORESERVE = 0xFF00  # from here on not a section: SHN_ABS, SHN_COMMON ...


def names_by_number(numbers: Mapping[str, Any]) -> dict[int, str]:
    """Return the names of a table of pyelftools by their numbers."""
    return {number: name for name, number in numbers.items() if isinstance(number, int)}


_SYMBOL_TYPES = names_by_number(enums.ENUM_ST_INFO_TYPE)
_BINDINGS = names_by_number(enums.ENUM_ST_INFO_BIND)


class Section(NamedTuple):
    """One section header.

    :param number: its place in the table.
    :param name: as ``.bss``.
    :param type: as ``SHT_NOTE``, or the number where pyelftools knows no name.
    :param flags: C ``Elf64_Xword``.
    :param offset: in the file, in bytes.
    :param size: in bytes.
    :param link: index of an associated section.
    :param info: index of the section that relocations are for.
    :param entry_size: in bytes, of a table's entries.
    """

    number: int
    name: str
    type: str
    flags: int
    offset: int
    size: int
    link: int
    info: int
    entry_size: int

    def __hash__(self) -> int:
        """Return a hash: sections of one file differ in their number."""
        return self.number

    @property
    def executable(self) -> bool:
        """Tell whether it holds code."""
        return bool(self.flags & _SHF_EXECINSTR)


class Symbol(NamedTuple):
    """One symbol.

    :param name: as ``kvmbpf_read``.
    :param type: as ``STT_FUNC``.
    :param binding: as ``STB_GLOBAL``.
    :param value: offset in its section, in bytes.
    :param size: in bytes.
    :param section: where it is defined, or None.
    """

    name: str
    type: str
    binding: str
    value: int
    size: int
    section: Section | None

    @property
    def weak(self) -> bool:
        """Tell whether the object loads where the symbol is not found."""
        return self.binding == "STB_WEAK"


def printable(raw: bytes) -> str:
    """Return text from a file, fit for one line: what cannot be shown is escaped."""
    text = raw.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


class Strings:
    """A table of strings that end with NULs.

    :param path: the file, for errors.
    :param table: its content.
    """

    def __init__(self, path: Path, table: bytes) -> None:
        self._path = path
        self._table = table
        # As a rule nothing in it is to be escaped, and nothing is too long.
        self._plain = not table.translate(None, _PLAIN)
        self._text = table.decode("ascii") if self._plain else ""
        longest = max(map(len, table.split(b"\0")))
        self._end = table.rfind(b"\0") + 1 if longest <= MAX_NAME_BYTES else 0

    def check(self, offsets: Sequence[int], what: str) -> None:
        """Refuse offsets where there is no string of a reasonable length.

        :param what: whose names they are, for errors.
        :raise BadFileError: when one is such.
        """
        if max(offsets, default=0) < self._end:
            return
        for index, offset in enumerate(offsets):
            if self._table.find(b"\0", offset, offset + MAX_NAME_BYTES + 1) < 0:
                raise BadFileError(
                    self._path,
                    f"{what} {index}: name at {offset:#x} of the string table is not a string "
                    f"of at most {MAX_NAME_BYTES} bytes",
                )

    def name(self, offset: int) -> str:
        """Return the string at an offset that was checked, fit for one line."""
        if self._plain:
            return self._text[offset : self._text.find("\0", offset)]
        return printable(self._table[offset : self._table.find(b"\0", offset)])


class Symbols:
    """A table of symbols.

    :param strings: with their names; `name_offsets` are checked by it.
    :param table: C ``Elf64_Sym`` each.
    :param order: of the numbers' bytes, as `struct` has it.
    :param sections: of the file; `section_numbers` are checked to be of them.
    """

    def __init__(
        self, strings: Strings, table: bytes, order: str, sections: Sequence[Section]
    ) -> None:
        self._strings = strings
        self._table = table
        self._form = struct.Struct(order + _SYMBOL)
        self._sections = sections
        self._order = order
        self._infos = table[_INFO_OFFSET::SYMBOL_BYTES]
        self._made: dict[int, Symbol] = {}

    def name_offsets(self) -> Sequence[int]:
        """Return where their names are."""
        return self._column("I", 0)

    def section_numbers(self) -> Sequence[int]:
        """Return the numbers of their sections."""
        return self._column("H", 6)

    def _column(self, code: str, offset: int) -> Sequence[int]:
        numbers = array.array(code, self._table)
        if self._order != _NATIVE_ORDER:
            numbers.byteswap()
        return numbers[offset // numbers.itemsize :: SYMBOL_BYTES // numbers.itemsize]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._infos)

    def __getitem__(self, index: int) -> Symbol:
        """Return a symbol by its place."""
        found = self._made.get(index)
        if found is None:
            name, info, _, number, value, size = self._form.unpack_from(
                self._table, index * SYMBOL_BYTES
            )
            kind = _SYMBOL_TYPES.get(info & 0xF) or str(info & 0xF)
            binding = _BINDINGS.get(info >> 4) or str(info >> 4)
            section = self._sections[number] if 0 < number < SHN_LORESERVE else None
            found = Symbol(self._strings.name(name), kind, binding, value, size, section)
            self._made[index] = found
        return found

    @cached_property
    def functions(self) -> list[Symbol]:
        """Those of type ``STT_FUNC``, in the file's order."""
        return self._of_type(_STT_FUNC)

    @cached_property
    def variables(self) -> list[Symbol]:
        """Those of type ``STT_OBJECT``, in the file's order."""
        return self._of_type(_STT_OBJECT)

    def _of_type(self, number: int) -> list[Symbol]:
        return [self[index] for index, info in enumerate(self._infos) if info & 0xF == number]
