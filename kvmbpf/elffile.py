# SPDX-License-Identifier: GPL-2.0-or-later
"""Sections and symbols of an untrusted BPF object, with bounded effort.

pyelftools decodes the header, section headers and symbols. Its own walks
follow whatever counts and strings a file states, which a damaged file turns
into minutes; so the walks are here, and each is bounded by the file's size and
by the limits below. Whatever goes wrong is a `BadFileError`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from elftools.common.utils import struct_parse
from elftools.elf.elffile import ELFFile

from kvmbpf.errors import BadFileError

# Far above what clang makes of a device (about 10 KiB, 40 sections, 40 symbols).
MAX_FILE_BYTES = 4 << 20
MAX_SECTIONS = 1024
MAX_SYMBOLS = 16384
MAX_NAME_BYTES = 255

_SHF_EXECINSTR = 4
_HEADER_BYTES = 64
_SECTION_HEADER_BYTES = 64
_SYMBOL_BYTES = 24

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Section:
    """One section header.

    :param name: as ``.bss``.
    :param type: as ``SHT_NOTE``, or the number where pyelftools knows no name.
    :param flags: C ``Elf64_Xword``.
    :param offset: in the file, in bytes.
    :param size: in bytes.
    :param link: index of an associated section.
    :param entry_size: in bytes, of a table's entries.
    """

    name: str
    type: str
    flags: int
    offset: int
    size: int
    link: int
    entry_size: int

    @property
    def executable(self) -> bool:
        """Tell whether it holds code."""
        return bool(self.flags & _SHF_EXECINSTR)


@dataclass(frozen=True, slots=True)
class Symbol:
    """One symbol.

    :param name: as ``kvmbpf_read``.
    :param type: as ``STT_FUNC``.
    :param value: offset in its section, in bytes.
    :param size: in bytes.
    :param section: where it is defined, or None.
    """

    name: str
    type: str
    value: int
    size: int
    section: Section | None


def printable(raw: bytes) -> str:
    """Return text from a file, fit for one line: what cannot be shown is escaped."""
    text = raw.decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


class ElfImage:
    """An ELF file for the BPF machine, read into memory whole.

    :param path: the file.
    :raise BadFileError: when it cannot be read or is no 64-bit BPF object.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._bytes = self._load()
        self._stream = io.BytesIO(self._bytes)
        self._check_ident()
        elf = self._decode(0, "ELF header", partial(ELFFile, self._stream))
        self.little_endian: bool = elf.little_endian
        self._structs = elf.structs
        self._check_header(elf.header)
        self._sections = self._read_sections(elf.header)

    def section(self, name: str) -> Section | None:
        """Return the only section of this name, or None.

        :raise BadFileError: when there are several.
        """
        found = [section for section in self._sections if section.name == name]
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
        tables = [section for section in self._sections if section.type == "SHT_SYMTAB"]
        if len(tables) != 1:
            raise BadFileError(self.path, f"{len(tables)} symbol tables, expected one")
        table = tables[0]
        if table.entry_size != _SYMBOL_BYTES or table.size % _SYMBOL_BYTES:
            raise BadFileError(
                self.path,
                f"{table.size} bytes in entries of {table.entry_size}, "
                f"expected entries of {_SYMBOL_BYTES}",
                section=table.name,
            )
        count = table.size // _SYMBOL_BYTES
        if count > MAX_SYMBOLS:
            raise BadFileError(
                self.path, f"{count} symbols, expected at most {MAX_SYMBOLS}", section=table.name
            )
        self.data(table)  # within the file
        if table.link >= len(self._sections):
            raise BadFileError(
                self.path,
                f"names in section {table.link}, expected one of {len(self._sections)}",
                section=table.name,
            )
        names = self.data(self._sections[table.link])
        return [self._symbol(table, index, names) for index in range(count)]

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

    def _read_sections(self, header: Any) -> list[Section]:  # noqa: ANN401 - a construct Container
        raw = []
        for index in range(header["e_shnum"]):
            offset = header["e_shoff"] + index * _SECTION_HEADER_BYTES
            raw.append(
                self._decode(
                    offset,
                    f"section header {index}",
                    partial(struct_parse, self._structs.Elf_Shdr, self._stream, stream_pos=offset),
                )
            )
        table = raw[header["e_shstrndx"]]
        names = self._bytes[table["sh_offset"] : table["sh_offset"] + table["sh_size"]]
        return [
            Section(
                name=self._name(names, item["sh_name"], f"section {index}"),
                type=str(item["sh_type"]),
                flags=item["sh_flags"],
                offset=item["sh_offset"],
                size=item["sh_size"],
                link=item["sh_link"],
                entry_size=item["sh_entsize"],
            )
            for index, item in enumerate(raw)
        ]

    def _symbol(self, table: Section, index: int, names: bytes) -> Symbol:
        offset = table.offset + index * _SYMBOL_BYTES
        item = self._decode(
            offset,
            f"symbol {index}",
            partial(struct_parse, self._structs.Elf_Sym, self._stream, stream_pos=offset),
        )
        where = item["st_shndx"]
        section = None
        if isinstance(where, int):  # else SHN_UNDEF, SHN_ABS, ...
            if where >= len(self._sections):
                raise BadFileError(
                    self.path,
                    f"symbol {index} in section {where}, expected one of {len(self._sections)}",
                    section=table.name,
                    offset=index * _SYMBOL_BYTES,
                )
            section = self._sections[where]
        return Symbol(
            name=self._name(names, item["st_name"], f"symbol {index}"),
            type=str(item["st_info"]["type"]),
            value=item["st_value"],
            size=item["st_size"],
            section=section,
        )

    def _name(self, table: bytes, offset: int, what: str) -> str:
        end = table.find(b"\0", offset, offset + MAX_NAME_BYTES + 1)
        if end < 0:
            raise BadFileError(
                self.path,
                f"{what}: name at {offset:#x} of the string table is not a string "
                f"of at most {MAX_NAME_BYTES} bytes",
            )
        return printable(table[offset:end])

    def _decode(self, offset: int, what: str, decode: Callable[[], _T]) -> _T:
        """Run a decoder of pyelftools: it raises many things on damaged files."""
        try:
            return decode()
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise BadFileError(self.path, f"{what}: {reason}", offset=offset) from error
