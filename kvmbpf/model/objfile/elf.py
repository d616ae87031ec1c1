# SPDX-License-Identifier: GPL-2.0-or-later
"""Sections, symbols and relocations of an untrusted BPF object, with bounded effort.

pyelftools knows the names of numbers. Its own walks follow whatever counts and
strings a file states, which a damaged file turns into minutes; so the walks over
tables are here, each bounded by the file's size and by the limits below. Tables
are decoded when they are asked for. Whatever goes wrong is a `BadFileError`.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from elftools.elf import enums

from kvmbpf.errors import BadFileError
from kvmbpf.mends import explain
from kvmbpf.model.objfile.symbols import (
    SHN_LORESERVE,
    SYMBOL_BYTES,
    Section,
    Strings,
    Symbol,
    Symbols,
    names_by_number,
)

# Far above what clang makes of a device (about 10 KiB, 40 sections, 40 symbols).
MAX_FILE_BYTES = 4 << 20
MAX_SECTIONS = 1024
MAX_SYMBOLS = 16384
MAX_RELOCATIONS = 65536  # in all sections

# Past e_ident and without what is not looked at. Source: Elf64_Ehdr, elf(5).
_HEADER = "16xHH20xQ10xHHH"
_HEADER_BYTES = 64
_SECTION_HEADER = "IIQQQQIIQQ"
_SECTION_HEADER_BYTES = 64
# Relocations of plain numbers, and the number's form. Source: "BPF LLVM
# Relocations", Documentation/bpf/llvm_reloc.rst (v6.12).
_PLAIN_RELOCATIONS = {2: "Q", 3: "I", 4: "I"}
_RELOCATION = "QQ"
_RELOCATION_BYTES = 16


_MACHINES = names_by_number(enums.ENUM_E_MACHINE)
_FILE_TYPES = names_by_number(enums.ENUM_E_TYPE)
_SECTION_TYPES = names_by_number(enums.ENUM_SH_TYPE_BASE)


class Relocation(NamedTuple):
    """One place in a section that refers to a symbol.

    :param offset: of the place in the section, in bytes.
    :param type: ``R_BPF_*`` (C ``__u32``).
    :param symbol: what is referred to.
    """

    offset: int
    type: int
    symbol: Symbol


class _Header(NamedTuple):
    """The ELF header, of what is looked at.

    :param type: as ``ET_REL``, or the number where pyelftools knows no name.
    :param machine: as ``EM_BPF``, likewise.
    :param sections: offset of the section headers in the file, in bytes.
    :param section_bytes: of one of them.
    :param section_count: how many there are.
    :param names: index of the section that has their names.
    """

    type: str
    machine: str
    sections: int
    section_bytes: int
    section_count: int
    names: int


class ElfImage:
    """An ELF file for the BPF machine, read into memory whole.

    :param path: the file.
    :param content: what is in it, where the caller has it already.
    :raise BadFileError: when it cannot be read or is no 64-bit BPF object.
    """

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        self.path = path
        self._bytes = self._load() if content is None else content
        self._check_ident()
        self.little_endian: bool = self._bytes[5] == 1
        self._order = "<" if self.little_endian else ">"
        self._strings: dict[tuple[int, int], Strings] = {}
        header = self._header()
        self._check_header(header)
        self.sections = self._read_sections(header)
        self._symbols: Symbols | None = None
        self._relocations: dict[int, list[tuple[int, ...]]] = {}
        self._relocations_left = MAX_RELOCATIONS

    @property
    def content(self) -> bytes:
        """The whole file."""
        return self._bytes

    def section(self, name: str) -> Section | None:
        """Return the only section of this name, or None.

        :raise BadFileError: when there are several.
        """
        found = [section for section in self.sections if section.name == name]
        if len(found) > 1:
            raise BadFileError(
                self.path,
                f"{len(found)} sections of this name, expected one",
                section=name,
                offset=found[1].offset,
            )
        return found[0] if found else None

    def data(self, section: Section) -> bytes:
        """Return a section's content.

        :raise BadFileError: when it has none in the file, or goes past its end.
        """
        if section.type == "SHT_NOBITS":
            raise BadFileError(self.path, "no content in the file", section=section.name)
        if section.offset + section.size > len(self._bytes):
            raise BadFileError(
                self.path,
                f"{section.size} bytes at file offset {section.offset:#x} go past the file's end, "
                f"{len(self._bytes)} bytes in all",
                section=section.name,
            )
        return self._bytes[section.offset : section.offset + section.size]

    def symbols(self) -> list[Symbol]:
        """Return the symbols, in the file's order.

        :raise BadFileError: when there is no symbol table, or a broken one.
        """
        table = self._symbol_table()
        return [table[index] for index in range(len(table))]

    def symbol(self, index: int) -> Symbol:
        """Return a symbol by its place in the table, that of a relocation.

        :raise BadFileError: as `symbols`.
        """
        return self._symbol_table()[index]

    def functions(self) -> list[Symbol]:
        """Return the symbols of type ``STT_FUNC``.

        :raise BadFileError: as `symbols`.
        """
        return self._symbol_table().functions

    def variables(self) -> list[Symbol]:
        """Return the symbols of type ``STT_OBJECT``.

        :raise BadFileError: as `symbols`.
        """
        return self._symbol_table().variables

    def relocations(self, section: Section) -> list[Relocation]:
        """Return what refers to symbols in a section, by place.

        :raise BadFileError: when a table of relocations is broken.
        """
        symbols = self._symbol_table()
        return [
            Relocation(offset, info & 0xFFFFFFFF, symbols[info >> 32])
            for offset, info in self.relocation_entries(section)
        ]

    def relocation_entries(self, section: Section) -> list[tuple[int, ...]]:
        """Return place and info of a section's relocations, by place; all are checked.

        :raise BadFileError: as `relocations`.
        """
        found = self._relocations.get(section.number)
        if found is None:
            found = []
            for table in self.sections:
                if table.info == section.number and table.type in ("SHT_REL", "SHT_RELA"):
                    found += self._read_relocations(table, section)
            found.sort(key=operator.itemgetter(0))
            self._relocations[section.number] = found
        return found

    def relocated(self, section: Section) -> bytes:
        """Return a section's content with the values of symbols added to its numbers.

        :raise BadFileError: when it has none, or a relocation goes past its end.
        """
        data = bytearray(self.data(section))
        for item in self.relocations(section):
            form = _PLAIN_RELOCATIONS.get(item.type)
            if form is None:  # of an instruction
                continue
            form = self._order + form
            size = struct.calcsize(form)
            if item.offset + size > len(data):
                raise BadFileError(
                    self.path,
                    f"relocation of {size} bytes goes past the section's end",
                    section=section.name,
                    offset=item.offset,
                )
            (addend,) = struct.unpack_from(form, data, item.offset)
            value = (addend + item.symbol.value) & ((1 << 8 * size) - 1)
            struct.pack_into(form, data, item.offset, value)
        return bytes(data)

    def _load(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError as error:
            raise BadFileError(self.path, "no such file") from error
        except IsADirectoryError as error:
            raise BadFileError(self.path, "a directory, expected an ELF file") from error
        except OSError as error:
            raise BadFileError(self.path, f"cannot be read: {explain(error)}") from error
        except ValueError as error:  # a NUL in the name
            raise BadFileError(self.path, f"cannot be opened: {error}") from error
        if len(content) > MAX_FILE_BYTES:
            raise BadFileError(
                self.path, f"more than {MAX_FILE_BYTES} bytes, too large for a device object"
            )
        return content

    def _check_ident(self) -> None:
        ident = self._bytes[:16]
        if not ident:
            raise BadFileError(self.path, "empty, expected an ELF file")
        if ident[:4] != b"\x7fELF":
            raise BadFileError(
                self.path,
                f"not an ELF file: starts with {ident[:4].hex(' ')}, expected 7f 45 4c 46",
                offset=0,
            )
        if len(self._bytes) < _HEADER_BYTES:
            raise BadFileError(
                self.path,
                f"ELF header ends here, expected {_HEADER_BYTES} bytes",
                offset=len(self._bytes),
            )
        if ident[4] != 2:
            raise BadFileError(self.path, f"ELF class {ident[4]}, expected 2 (64-bit)", offset=4)
        if ident[5] not in (1, 2):
            raise BadFileError(
                self.path,
                f"ELF byte order {ident[5]}, expected 1 (little endian) or 2 (big endian)",
                offset=5,
            )

    def _check_header(self, header: _Header) -> None:
        machine, kind = header.machine, header.type
        if machine != "EM_BPF":
            raise BadFileError(
                self.path,
                f"made for machine {machine}, expected EM_BPF; compile with clang -target bpf",
                offset=18,
            )
        if kind != "ET_REL":
            raise BadFileError(self.path, f"ELF type {kind}, expected ET_REL", offset=16)
        size, count = header.section_bytes, header.section_count
        if size != _SECTION_HEADER_BYTES:
            raise BadFileError(
                self.path,
                f"section headers of {size} bytes, expected {_SECTION_HEADER_BYTES}",
                offset=58,
            )
        if not 0 < count <= MAX_SECTIONS:
            raise BadFileError(
                self.path, f"{count} sections, expected 1 to {MAX_SECTIONS}", offset=60
            )
        if header.sections + count * size > len(self._bytes):
            raise BadFileError(
                self.path,
                f"{count} section headers at {header.sections:#x} go past the file's end, "
                f"{len(self._bytes)} bytes in all",
                offset=40,
            )
        if header.names >= count:
            raise BadFileError(
                self.path,
                f"section names in section {header.names}, expected one of {count}",
                offset=62,
            )

    def _header(self) -> _Header:
        kind, machine, *rest = struct.unpack_from(self._order + _HEADER, self._bytes)
        return _Header(
            _FILE_TYPES.get(kind) or str(kind), _MACHINES.get(machine) or str(machine), *rest
        )

    def _read_sections(self, header: _Header) -> tuple[Section, ...]:
        start, count = header.sections, header.section_count
        table = self._bytes[start : start + count * _SECTION_HEADER_BYTES]
        raw = list(struct.iter_unpack(self._order + _SECTION_HEADER, table))
        names_offset, names_size = raw[header.names][4:6]
        strings = self._strings_at(names_offset, names_size)
        strings.check([entry[0] for entry in raw], "section")
        names, kinds, flags, _, offsets, sizes, links, infos, _, entry_sizes = zip(
            *raw, strict=True
        )
        columns = (
            range(count),
            map(strings.name, names),
            [_SECTION_TYPES.get(kind) or str(kind) for kind in kinds],
            *(flags, offsets, sizes, links, infos, entry_sizes),
        )
        return tuple(map(Section._make, zip(*columns, strict=True)))

    def _strings_at(self, offset: int, size: int) -> Strings:
        """Return a table of strings; clang makes one for all names."""
        found = self._strings.get((offset, size))
        if found is None:
            found = Strings(self.path, self._bytes[offset : offset + size])
            self._strings[offset, size] = found
        return found

    def _symbol_table(self) -> Symbols:
        if self._symbols is None:
            self._symbols = self._read_symbols()
        return self._symbols

    def _read_symbols(self) -> Symbols:
        tables = [section for section in self.sections if section.type == "SHT_SYMTAB"]
        if len(tables) != 1:
            raise BadFileError(self.path, f"{len(tables)} symbol tables, expected one")
        table = tables[0]
        raw = self._table(table, SYMBOL_BYTES, MAX_SYMBOLS, "symbols")
        if table.link >= len(self.sections):
            raise BadFileError(
                self.path,
                f"names in section {table.link}, expected one of {len(self.sections)}",
                section=table.name,
            )
        names = self.sections[table.link]
        self.data(names)  # refuses one that is not in the file
        strings = self._strings_at(names.offset, names.size)
        symbols = Symbols(strings, raw, self._order, self.sections)
        strings.check(symbols.name_offsets(), "symbol")
        self._check_symbol_sections(table, symbols.section_numbers())
        return symbols

    def _check_symbol_sections(self, table: Section, numbers: Sequence[int]) -> None:
        """Refuse symbols in a section that there is not."""
        count = len(self.sections)
        absent = [number for number in set(numbers) if count <= number < SHN_LORESERVE]
        if absent:
            index = min(map(numbers.index, absent))
            raise BadFileError(
                self.path,
                f"symbol {index} in section {numbers[index]}, expected one of {count}",
                section=table.name,
                offset=index * SYMBOL_BYTES,
            )

    def _read_relocations(self, table: Section, target: Section) -> list[tuple[int, ...]]:
        if table.type == "SHT_RELA":
            raise BadFileError(
                self.path,
                "relocations with addends, expected SHT_REL; compile with clang -target bpf",
                section=table.name,
            )
        symbols = len(self._symbol_table())
        left = self._relocations_left
        raw = self._entries(table, _RELOCATION, _RELOCATION_BYTES, left, "relocations")
        self._relocations_left = left - len(raw)
        if raw and (max(raw)[0] >= target.size or max(info for _, info in raw) >> 32 >= symbols):
            raise self._bad_relocation(table, target, raw)
        return raw

    def _bad_relocation(
        self, table: Section, target: Section, raw: Sequence[tuple[int, ...]]
    ) -> BadFileError:
        """Return the error of the first relocation of nothing."""
        symbols = len(self._symbol_table())
        index, reason = next(
            (index, f"for offset {offset:#x} of {target.size:#x}")
            if offset >= target.size
            else (index, f"of symbol {info >> 32}, expected one of {symbols}")
            for index, (offset, info) in enumerate(raw)
            if offset >= target.size or info >> 32 >= symbols
        )
        return BadFileError(
            self.path,
            f"relocation {index} {reason}",
            section=table.name,
            offset=index * _RELOCATION_BYTES,
        )

    def _entries(
        self, table: Section, form: str, size: int, most: int, what: str
    ) -> list[tuple[int, ...]]:
        """Return the entries of a table, undecoded but for their numbers."""
        return list(struct.iter_unpack(self._order + form, self._table(table, size, most, what)))

    def _table(self, table: Section, size: int, most: int, what: str) -> bytes:
        """Return the content of a table: whole entries of a size, not too many."""
        if table.entry_size != size or table.size % size:
            raise BadFileError(
                self.path,
                f"{table.size} bytes in entries of {table.entry_size}, expected entries of {size}",
                section=table.name,
            )
        count = table.size // size
        if count > most:
            raise BadFileError(
                self.path, f"{count} {what}, expected at most {most}", section=table.name
            )
        return self.data(table)
