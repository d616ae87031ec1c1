# SPDX-License-Identifier: GPL-2.0-or-later
"""Sections, symbols and relocations of an untrusted BPF object, with bounded effort.

pyelftools decodes the ELF header and knows the names of numbers. Its own walks
follow whatever counts and strings a file states, which a damaged file turns
into minutes; so the walks over tables are here, each bounded by the file's size
and by the limits below. Tables are decoded when they are asked for. Whatever
goes wrong is a `BadFileError`.
"""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from elftools.common.utils import struct_parse
from elftools.elf import enums
from elftools.elf.structs import ELFStructs

from kvmbpf.errors import BadFileError

# Far above what clang makes of a device (about 10 KiB, 40 sections, 40 symbols).
MAX_FILE_BYTES = 4 << 20
MAX_SECTIONS = 1024
MAX_SYMBOLS = 16384
MAX_RELOCATIONS = 65536  # in all sections
MAX_NAME_BYTES = 255

_SHF_EXECINSTR = 4
_SHN_LORESERVE = 0xFF00  # from here on not a section: SHN_ABS, SHN_COMMON ...
_HEADER_BYTES = 64
_SECTION_HEADER = "IIQQQQIIQQ"
_SECTION_HEADER_BYTES = 64
_SYMBOL = "IBBHQQ"
_SYMBOL_BYTES = 24
# Relocations of plain numbers, and the number's form. Source: "BPF LLVM
# Relocations", Documentation/bpf/llvm_reloc.rst (v6.12).
_PLAIN_RELOCATIONS = {2: "Q", 3: "I", 4: "I"}
_RELOCATION = "QQ"
_RELOCATION_BYTES = 16


def _names(numbers: Mapping[str, Any]) -> dict[int, str]:
    return {number: name for name, number in numbers.items() if isinstance(number, int)}


_SECTION_TYPES = _names(enums.ENUM_SH_TYPE_BASE)
_SYMBOL_TYPES = _names(enums.ENUM_ST_INFO_TYPE)
_BINDINGS = _names(enums.ENUM_ST_INFO_BIND)


@dataclass(frozen=True, slots=True)
class Section:
    """One section header.

    :param index: its place in the table.
    :param name: as ``.bss``.
    :param type: as ``SHT_NOTE``, or the number where pyelftools knows no name.
    :param flags: C ``Elf64_Xword``.
    :param offset: in the file, in bytes.
    :param size: in bytes.
    :param link: index of an associated section.
    :param info: index of the section that relocations are for.
    :param entry_size: in bytes, of a table's entries.
    """

    index: int
    name: str
    type: str
    flags: int
    offset: int
    size: int
    link: int
    info: int
    entry_size: int

    def __hash__(self) -> int:
        """Return a hash: sections of one file differ in their index."""
        return self.index

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


class Relocation(NamedTuple):
    """One place in a section that refers to a symbol.

    :param offset: of the place in the section, in bytes.
    :param type: ``R_BPF_*`` (C ``__u32``).
    :param symbol: what is referred to.
    """

    offset: int
    type: int
    symbol: Symbol


def printable(raw: bytes) -> str:
    """Return text from a file, fit for one line: what cannot be shown is escaped."""
    text = raw.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


@functools.cache
def _structs(little_endian: bool) -> ELFStructs:
    structs = ELFStructs(little_endian=little_endian, elfclass=64)
    structs.create_basic_structs()
    structs.create_advanced_structs()
    return structs


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
        header = self._header()
        self._check_header(header)
        self.sections = self._read_sections(header)
        self._symbols: list[Symbol] | None = None
        self._relocations: dict[int, list[Relocation]] = {}
        self._relocations_left = MAX_RELOCATIONS

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
        if self._symbols is None:
            self._symbols = self._read_symbols()
        return self._symbols

    def relocations(self, section: Section) -> list[Relocation]:
        """Return what refers to symbols in a section, by place.

        :raise BadFileError: when a table of relocations is broken.
        """
        found = self._relocations.get(section.index)
        if found is None:
            found = []
            for table in self.sections:
                if table.info == section.index and table.type in ("SHT_REL", "SHT_RELA"):
                    found += self._read_relocations(table, section)
            found.sort(key=lambda item: item.offset)
            self._relocations[section.index] = found
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
            raise BadFileError(self.path, f"cannot be read: {error.strerror}") from error
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

    def _check_header(self, header: Any) -> None:  # noqa: ANN401 - a construct Container
        machine, kind = header["e_machine"], header["e_type"]
        if machine != "EM_BPF":
            raise BadFileError(
                self.path,
                f"made for machine {machine}, expected EM_BPF; compile with clang -target bpf",
                offset=18,
            )
        if kind != "ET_REL":
            raise BadFileError(self.path, f"ELF type {kind}, expected ET_REL", offset=16)
        size, count = header["e_shentsize"], header["e_shnum"]
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
        if header["e_shoff"] + count * size > len(self._bytes):
            raise BadFileError(
                self.path,
                f"{count} section headers at {header['e_shoff']:#x} go past the file's end, "
                f"{len(self._bytes)} bytes in all",
                offset=40,
            )
        if header["e_shstrndx"] >= count:
            raise BadFileError(
                self.path,
                f"section names in section {header['e_shstrndx']}, expected one of {count}",
                offset=62,
            )

    def _header(self) -> Any:  # noqa: ANN401 - a construct Container
        try:
            return struct_parse(
                _structs(self.little_endian).Elf_Ehdr, io.BytesIO(self._bytes), stream_pos=0
            )
        except Exception as error:  # pyelftools raises many things on damaged files
            reason = " ".join(str(error).split()) or type(error).__name__
            raise BadFileError(self.path, f"ELF header: {reason}", offset=0) from error

    def _read_sections(self, header: Any) -> tuple[Section, ...]:  # noqa: ANN401 - as above
        start, count = header["e_shoff"], header["e_shnum"]
        table = self._bytes[start : start + count * _SECTION_HEADER_BYTES]
        raw = list(struct.iter_unpack(self._order + _SECTION_HEADER, table))
        names_offset, names_size = raw[header["e_shstrndx"]][4:6]
        names = self._bytes[names_offset : names_offset + names_size]
        return tuple(
            Section(
                index=index,
                name=self._name(names, name, "section", index),
                type=_SECTION_TYPES.get(kind, str(kind)),
                flags=flags,
                offset=offset,
                size=size,
                link=link,
                info=info,
                entry_size=entry_size,
            )
            for index, (name, kind, flags, _, offset, size, link, info, _, entry_size) in enumerate(
                raw
            )
        )

    def _read_symbols(self) -> list[Symbol]:
        tables = [section for section in self.sections if section.type == "SHT_SYMTAB"]
        if len(tables) != 1:
            raise BadFileError(self.path, f"{len(tables)} symbol tables, expected one")
        table = tables[0]
        raw = self._entries(table, _SYMBOL, _SYMBOL_BYTES, MAX_SYMBOLS, "symbols")
        if table.link >= len(self.sections):
            raise BadFileError(
                self.path,
                f"names in section {table.link}, expected one of {len(self.sections)}",
                section=table.name,
            )
        names = self.data(self.sections[table.link])
        return [
            Symbol(
                self._name(names, name, "symbol", index),
                _SYMBOL_TYPES.get(info & 0xF) or str(info & 0xF),
                _BINDINGS.get(info >> 4) or str(info >> 4),
                value,
                size,
                self._symbol_section(table, index, where),
            )
            for index, (name, info, _, where, value, size) in enumerate(raw)
        ]

    def _symbol_section(self, table: Section, index: int, where: int) -> Section | None:
        if where == 0 or where >= _SHN_LORESERVE:
            return None
        if where >= len(self.sections):
            raise BadFileError(
                self.path,
                f"symbol {index} in section {where}, expected one of {len(self.sections)}",
                section=table.name,
                offset=index * _SYMBOL_BYTES,
            )
        return self.sections[where]

    def _read_relocations(self, table: Section, target: Section) -> list[Relocation]:
        if table.type == "SHT_RELA":
            raise BadFileError(
                self.path,
                "relocations with addends, expected SHT_REL; compile with clang -target bpf",
                section=table.name,
            )
        found = []
        symbols = self.symbols()
        left = self._relocations_left
        raw = self._entries(table, _RELOCATION, _RELOCATION_BYTES, left, "relocations")
        self._relocations_left = left - len(raw)
        for index, (offset, info) in enumerate(raw):
            if offset >= target.size:
                raise self._bad_relocation(
                    table, index, f"for offset {offset:#x} of {target.size:#x}"
                )
            if info >> 32 >= len(symbols):
                raise self._bad_relocation(
                    table, index, f"of symbol {info >> 32}, expected one of {len(symbols)}"
                )
            found.append(Relocation(offset, info & 0xFFFFFFFF, symbols[info >> 32]))
        return found

    def _bad_relocation(self, table: Section, index: int, reason: str) -> BadFileError:
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
        return list(struct.iter_unpack(self._order + form, self.data(table)))

    def _name(self, table: bytes, offset: int, what: str, index: int) -> str:
        end = table.find(b"\0", offset, offset + MAX_NAME_BYTES + 1)
        if end < 0:
            raise BadFileError(
                self.path,
                f"{what} {index}: name at {offset:#x} of the string table is not a string "
                f"of at most {MAX_NAME_BYTES} bytes",
            )
        return printable(table[offset:end])
