# SPDX-License-Identifier: GPL-2.0-or-later
"""Which maps a program refers to, in an object that is not loaded yet.

libbpf knows, and does not tell. So the relocations are followed here, from a
program through the functions that it calls or hands on as a callback. The
object was opened by libbpf before, which has checked it; what does not make
sense nevertheless is a `BadFileError`.

Source: Documentation/bpf/llvm_reloc.rst, v6.12; bpf_object__reloc_code() of
libbpf 1.4, for calls without a relocation.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.errors import BadFileError

_ORDER = "<" if sys.byteorder == "little" else ">"  # libbpf opens no other
_HEADER_SECTIONS = struct.Struct(f"{_ORDER}40xQ10xHHH")  # e_shoff, e_shentsize, e_shnum, _shstrndx
_SECTION = struct.Struct(f"{_ORDER}IIQQQQIIQQ")
_SYMBOL = struct.Struct(f"{_ORDER}IBBHQQ")
_RELOCATION = struct.Struct(f"{_ORDER}QQ")
_INSTRUCTION = struct.Struct(f"{_ORDER}BBhi")

_SHT_SYMTAB, _SHT_REL = 2, 9
_SHF_EXECINSTR = 4
_SHN_LORESERVE = 0xFF00
_STT_FUNC, _STT_SECTION = 2, 3
_CALL = 0x85  # BPF_JMP | BPF_CALL
_PSEUDO_CALL = 1
_MAPS = ".maps"


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    type: int
    flags: int
    data: bytes
    link: int
    info: int


@dataclass(frozen=True, slots=True)
class _Symbol:
    name: str
    type: int
    section: int
    value: int
    size: int


@dataclass(frozen=True, slots=True)
class _Function:
    section: int
    start: int
    end: int


class References:
    """The references between the programs, functions and maps of an object.

    :param path: the object file, one that libbpf has opened.
    :raise BadFileError: when it cannot be read or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._sections = _sections(path.read_bytes())
            self._symbols = _symbols(self._sections)
            self._relocations = _relocations(self._sections)
        except OSError as error:
            raise BadFileError(path, f"cannot be read: {error.strerror}") from error
        except (struct.error, IndexError, ValueError, StopIteration) as error:
            raise BadFileError(path, f"its tables are damaged: {error}") from error
        self._functions = [
            _Function(item.section, item.value, item.value + item.size)
            for item in self._symbols
            if item.type == _STT_FUNC and self._executable(item.section)
        ]

    def maps_of(self, programs: Iterable[str]) -> frozenset[str]:
        """Return the names of the maps that programs refer to, directly or not.

        A data section that is a map counts, by the section's name.

        :param programs: their names.
        :raise BadFileError: when the file is damaged.
        """
        wanted = set(programs)
        waiting = [
            _Function(item.section, item.value, item.value + item.size)
            for item in self._symbols
            if item.type == _STT_FUNC and item.name in wanted
        ]
        seen = set(waiting)
        maps: set[str] = set()
        try:
            while waiting:
                for found in self._references(waiting.pop()):
                    if isinstance(found, str):
                        maps.add(found)
                    elif found not in seen:
                        seen.add(found)
                        waiting.append(found)
        except (struct.error, IndexError) as error:
            raise BadFileError(self._path, f"its relocations are damaged: {error}") from error
        return frozenset(maps)

    def _references(self, function: _Function) -> Iterable[_Function | str]:
        """Yield the functions and maps that one function's instructions name."""
        code = self._sections[function.section].data
        relocations = self._relocations.get(function.section, {})
        for offset in range(function.start, function.end, _INSTRUCTION.size):
            opcode, registers, _, immediate = _INSTRUCTION.unpack_from(code, offset)
            symbol = relocations.get(offset)
            if symbol is not None:
                yield from self._target(self._symbols[symbol], opcode, immediate)
            elif opcode == _CALL and _source(registers) == _PSEUDO_CALL:
                next_one = offset + _INSTRUCTION.size
                yield from self._at(function.section, next_one + immediate * _INSTRUCTION.size)

    def _target(self, symbol: _Symbol, opcode: int, immediate: int) -> Iterable[_Function | str]:
        """Yield what a relocated instruction means."""
        if 0 < symbol.section < _SHN_LORESERVE:
            section = self._sections[symbol.section].name
            if not self._executable(symbol.section):
                yield symbol.name if section == _MAPS else section
            else:
                # An instruction's own field adds to the symbol; of a call, in instructions.
                added = (immediate + 1) * _INSTRUCTION.size if opcode == _CALL else immediate
                in_section = added if symbol.type == _STT_SECTION else 0
                yield from self._at(symbol.section, symbol.value + in_section)

    def _at(self, section: int, offset: int) -> Iterable[_Function]:
        return (f for f in self._functions if f.section == section and f.start == offset)

    def _executable(self, section: int) -> bool:
        return section < len(self._sections) and bool(
            self._sections[section].flags & _SHF_EXECINSTR
        )


def _source(registers: int) -> int:
    """Return an instruction's source register: a bit field, so by the byte order."""
    return registers >> 4 if sys.byteorder == "little" else registers & 0xF


def _sections(image: bytes) -> list[_Section]:
    offset, size, count, names_index = _HEADER_SECTIONS.unpack_from(image)
    raw = [_SECTION.unpack_from(image, offset + index * size) for index in range(count)]
    names = _content(image, raw[names_index])
    return [
        _Section(
            name=_string(names, item[0]),
            type=item[1],
            flags=item[2],
            data=_content(image, item),
            link=item[6],
            info=item[7],
        )
        for item in raw
    ]


def _content(image: bytes, header: tuple[int, ...]) -> bytes:
    return image[header[4] : header[4] + header[5]]


def _symbols(sections: list[_Section]) -> list[_Symbol]:
    table = next(section for section in sections if section.type == _SHT_SYMTAB)
    names = sections[table.link].data
    return [
        _Symbol(_string(names, name), info & 0xF, section, value, size)
        for name, info, _, section, value, size in _SYMBOL.iter_unpack(table.data)
    ]


def _relocations(sections: list[_Section]) -> dict[int, dict[int, int]]:
    """Return what is relocated: section -> offset in it -> index of a symbol."""
    found: dict[int, dict[int, int]] = {}
    for section in sections:
        if section.type == _SHT_REL:
            entries = (
                (offset, info >> 32) for offset, info in _RELOCATION.iter_unpack(section.data)
            )
            found.setdefault(section.info, {}).update(entries)
    return found


def _string(table: bytes, offset: int) -> str:
    return table[offset : table.index(b"\0", offset)].decode(errors="replace")
