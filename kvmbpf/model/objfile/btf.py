# SPDX-License-Identifier: GPL-2.0-or-later
"""The types in the section ``.BTF`` of an untrusted object, with bounded effort.

One walk over the section finds where each type starts; a type is decoded when it
is asked for. What a type refers to is checked when it is followed, and what
follows types stops at a depth, so that cycles and towers of arrays cost nothing.
Whatever goes wrong is a `BadFileError`.

Source: Documentation/bpf/btf.rst and include/uapi/linux/btf.h, v6.12.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.errors import BadFileError
from kvmbpf.model.objfile.elf import ElfImage
from kvmbpf.model.objfile.symbols import printable

BTF_SECTION = ".BTF"
BTF_MAGIC = 0xEB9F
BTF_VERSION = 1

MAX_TYPES = 65536
MAX_STRING_BYTES = 4096
# Of types that refer to each other. The deepest that a C compiler makes of a
# device is about 10: const, typedef, array and pointer around a struct.
MAX_DEPTH = 32

_HEADER_BYTES = 24
_TYPE_BYTES = 12


class Kind(enum.IntEnum):
    """Kinds of types: BTF_KIND_*."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


# Bytes that follow a type's head: once, and for each of its entries.
_TAIL_BYTES: dict[int, int] = {Kind.INT: 4, Kind.ARRAY: 12, Kind.VAR: 4, Kind.DECL_TAG: 4}
_ENTRY_BYTES: dict[int, int] = {
    Kind.STRUCT: 12,
    Kind.UNION: 12,
    Kind.ENUM: 8,
    Kind.FUNC_PROTO: 8,
    Kind.DATASEC: 12,
    Kind.ENUM64: 12,
}
_SIZED = frozenset(
    (
        *(Kind.INT, Kind.STRUCT, Kind.UNION, Kind.ENUM),
        *(Kind.ENUM64, Kind.DATASEC, Kind.FLOAT),
    )
)
_QUALIFIERS = {Kind.CONST: "const", Kind.VOLATILE: "volatile", Kind.RESTRICT: "restrict"}
_TRANSPARENT = frozenset((Kind.TYPEDEF, Kind.TYPE_TAG, *_QUALIFIERS))
_TAGGED = {
    Kind.STRUCT: "struct",
    Kind.UNION: "union",
    Kind.ENUM: "enum",
    Kind.ENUM64: "enum",
}


@dataclass(frozen=True, slots=True)
class BtfType:
    """One type, its head only.

    :param id: its number (C ``__u32``).
    :param kind: what it is.
    :param name: as in the source; empty for an anonymous one.
    :param size: in bytes; 0 for a kind that has none of its own.
    :param target: id of the type that it refers to; 0 for a kind that does not.
    :param count: of members, values, parameters or variables.
    :param flag: ``kind_flag``: a struct with bit fields, a signed enum, a union
        that is only declared.
    :param offset: of what follows the head, in the section, in bytes.
    """

    id: int
    kind: Kind
    name: str
    size: int
    target: int
    count: int
    flag: bool
    offset: int


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a struct or union.

    :param name: empty for an anonymous struct or union.
    :param type_id: its type.
    :param bit_offset: from the start of the struct, in bits.
    :param bits: size of a bit field, in bits; 0 for a plain member.
    """

    name: str
    type_id: int
    bit_offset: int
    bits: int


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable or function in a data section.

    :param name: the C name.
    :param type_id: its type.
    :param offset: in the section, in bytes.
    :param size: in bytes.
    """

    name: str
    type_id: int
    offset: int
    size: int


class Btf:
    """The types of one object.

    :param path: the object file, for errors.
    :param data: the section's content, relocated.
    :param little_endian: the byte order of the file's numbers.
    :raise BadFileError: when the header, or the walk over the types, goes wrong.
    """

    def __init__(self, path: Path, data: bytes, *, little_endian: bool) -> None:
        self._path = path
        self._data = data
        self._order = "<" if little_endian else ">"
        types, strings = self._read_header()
        self._strings = data[strings[0] : strings[1]]
        self._kinds = bytearray(1)  # of void
        self._starts = self._find_types(*types)
        self._heads: dict[int, BtfType] = {}
        self._resolved: dict[int, BtfType] = {}

    @classmethod
    def of(cls, elf: ElfImage) -> Btf | None:
        """Return the types of an object, or None when it has none.

        :raise BadFileError: when they are broken.
        """
        section = elf.section(BTF_SECTION)
        if section is None:
            return None
        return cls(elf.path, elf.relocated(section), little_endian=elf.little_endian)

    def __len__(self) -> int:
        """Return the number of types, void included."""
        return len(self._starts)

    def get(self, type_id: int) -> BtfType:
        """Decode the head of one type.

        :param type_id: its number; 0 is void.
        :raise BadFileError: when there is no such type.
        """
        found = self._heads.get(type_id)
        if found is None:
            found = self._heads[type_id] = self._decode(type_id)
        return found

    def _decode(self, type_id: int) -> BtfType:
        if not 0 <= type_id < len(self._starts):
            raise self._bad(None, f"type {type_id}, expected one of {len(self._starts)}")
        start = self._starts[type_id]
        if type_id == 0:
            return BtfType(0, Kind.VOID, "void", 0, 0, 0, False, start)
        name, info, last = self._unpack("3I", start)
        kind = Kind(info >> 24 & 0x1F)
        sized = kind in _SIZED
        offset = start + _TYPE_BYTES
        target = 0 if sized else last
        if kind is Kind.ARRAY:
            target = self._unpack("I", offset)[0]
        return BtfType(
            id=type_id,
            kind=kind,
            name=self.string(name),
            size=last if sized else 0,
            target=target,
            count=info & 0xFFFF,
            flag=bool(info >> 31),
            offset=offset,
        )

    def types(self, *kinds: Kind) -> Iterator[BtfType]:
        """Go through the types of some kinds."""
        wanted = frozenset(kinds)
        for type_id, kind in enumerate(self._kinds):
            if kind in wanted:
                yield self.get(type_id)

    def string(self, offset: int) -> str:
        """Return a string of the section, fit for one line; a long one is cut.

        :param offset: in the strings, in bytes.
        :raise BadFileError: when there is none.
        """
        text, end, _ = self._strings[offset : offset + MAX_STRING_BYTES].partition(b"\0")
        if not end and len(text) < MAX_STRING_BYTES:
            raise self._bad(
                None, f"string {offset:#x} is not within {len(self._strings):#x} bytes of strings"
            )
        return printable(text.replace(b"\t", b" "))

    def resolve(self, type_id: int) -> BtfType:
        """Return the type behind typedefs, qualifiers and tags.

        :raise BadFileError: when they lead nowhere, or in a circle.
        """
        known = self._resolved.get(type_id)
        if known is not None:
            return known
        asked = type_id
        for _ in range(MAX_DEPTH):
            found = self.get(type_id)
            if found.kind not in _TRANSPARENT:
                self._resolved[asked] = found
                return found
            type_id = found.target
        raise self._bad(None, f"type {type_id}: more than {MAX_DEPTH} names for one type")

    def elements(self, array: BtfType) -> int:
        """Return how many elements an array has (C ``__u32``)."""
        count: int = self._unpack("I", array.offset + 8)[0]
        return count

    def members(self, found: BtfType) -> Iterator[Member]:
        """Go through the members of a struct or union."""
        for index in range(found.count):
            yield self.member(found, index)

    def member(self, found: BtfType, index: int) -> Member:
        """Return one member of a struct or union.

        :param index: below its count.
        """
        name, type_id, offset = self._unpack("3I", found.offset + index * 12)
        if found.flag:
            return Member(self.string(name), type_id, offset & 0xFFFFFF, offset >> 24)
        return Member(self.string(name), type_id, offset, 0)

    def words(self, found: BtfType, count: int, index: int = 0) -> tuple[int, ...]:
        """Return numbers that follow a type's head (C ``__u32``).

        :param count: how many there are of an entry.
        :param index: of the entry, for a kind that has several.
        """
        return self._unpack(f"{count}I", found.offset + index * count * 4)

    def variables(self, datasec: BtfType) -> Iterator[Variable]:
        """Go through the variables, or functions, of a data section."""
        for index in range(datasec.count):
            var_id, offset, size = self._unpack("3I", datasec.offset + index * 12)
            variable = self.get(var_id)
            yield Variable(variable.name, variable.target, offset, size)

    def datasec(self, name: str) -> BtfType | None:
        """Return the data section of this name, or None."""
        return next((item for item in self.types(Kind.DATASEC) if item.name == name), None)

    def size_of(self, type_id: int) -> int:
        """Return a type's size in bytes.

        :raise BadFileError: when it has none.
        """
        times = 1
        for _ in range(MAX_DEPTH):
            found = self.resolve(type_id)
            if found.kind is Kind.PTR:
                return times * 8
            if found.kind is not Kind.ARRAY:
                if found.kind not in _SIZED:
                    break
                return times * found.size
            times *= self.elements(found)
            type_id = found.target
        raise self._bad(None, f"type {type_id} ({self.get(type_id).kind.name}) has no size")

    def declaration(self, type_id: int) -> str:
        """Return a type as C writes it, as ``const char *[4]``.

        :raise BadFileError: when it refers to a type that is not there.
        """
        inner = ""  # what follows the name: pointers, dimensions
        qualifiers: list[str] = []
        for _ in range(MAX_DEPTH):
            found = self.get(type_id)
            if found.kind is Kind.PTR:
                inner = f"*{_joined([*qualifiers, inner])}"
                qualifiers = []
                if self.get(found.target).kind in (Kind.ARRAY, Kind.FUNC_PROTO):
                    inner = f"({inner})"
            elif found.kind is Kind.ARRAY:
                inner += f"[{self.elements(found)}]"
            elif found.kind is Kind.FUNC_PROTO:
                inner += "(...)"
            elif found.kind in _QUALIFIERS:
                qualifiers.append(_QUALIFIERS[found.kind])
            elif found.kind is not Kind.TYPE_TAG:
                return _declared(_joined([*qualifiers, _plain(found)]), inner)
            type_id = found.target
        return _declared("...", inner)

    def _read_header(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return start and end of the types, and of the strings."""
        if len(self._data) < _HEADER_BYTES:
            raise self._bad(len(self._data), f"ends here, expected a header of {_HEADER_BYTES}")
        magic, version, _, length = self._unpack("HBBI", 0)
        if magic != BTF_MAGIC:
            raise self._bad(0, f"magic {magic:#06x}, expected {BTF_MAGIC:#06x}")
        if version != BTF_VERSION:
            raise self._bad(2, f"BTF version {version}, expected {BTF_VERSION}")
        parts = []
        for place, what in ((8, "types"), (16, "strings")):
            offset, size = self._unpack("2I", place)
            if length + offset + size > len(self._data):
                raise self._bad(
                    place,
                    f"{what}: {size} bytes at {length + offset:#x} go past the section's end, "
                    f"{len(self._data)} bytes in all",
                )
            parts.append((length + offset, length + offset + size))
        if length < _HEADER_BYTES:
            raise self._bad(4, f"header of {length} bytes, expected {_HEADER_BYTES} or more")
        return parts[0], parts[1]

    def _find_types(self, start: int, end: int) -> list[int]:
        """Return where each type starts; void has no place of its own."""
        starts = [start]
        unpack = struct.Struct(self._order + "I").unpack_from
        while start < end:
            if end - start < _TYPE_BYTES:
                raise self._bad(start, f"{end - start} bytes after the last whole type")
            if len(starts) > MAX_TYPES:
                raise self._bad(start, f"more than {MAX_TYPES} types")
            starts.append(start)
            (info,) = unpack(self._data, start + 4)
            kind = info >> 24 & 0x1F
            if not Kind.INT <= kind <= Kind.ENUM64:
                raise self._bad(
                    start, f"type {len(starts) - 1} is of kind {kind}, which kvmbpf does not know"
                )
            self._kinds.append(kind)
            start += _TYPE_BYTES + _TAIL_BYTES.get(kind, 0)
            start += _ENTRY_BYTES.get(kind, 0) * (info & 0xFFFF)
        if start > end:
            raise self._bad(
                starts[-1], f"type {len(starts) - 1} goes past the types' end, {end:#x}"
            )
        return starts

    def _unpack(self, form: str, offset: int) -> tuple[int, ...]:
        return struct.unpack_from(self._order + form, self._data, offset)

    def _bad(self, offset: int | None, reason: str) -> BadFileError:
        return BadFileError(self._path, reason, section=BTF_SECTION, offset=offset)


def _plain(found: BtfType) -> str:
    """Return a type's name with its tag."""
    if found.kind is Kind.FWD:
        return f"{'union' if found.flag else 'struct'} {found.name}"
    tag = _TAGGED.get(found.kind)
    if tag is None:
        return found.name or "?"
    return f"{tag} {found.name or '{...}'}"


def _joined(words: list[str]) -> str:
    return " ".join(word for word in words if word)


def _declared(name: str, inner: str) -> str:
    return name + inner if inner.startswith("[") else _joined([name, inner])
