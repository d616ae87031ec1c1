# SPDX-License-Identifier: GPL-2.0-or-later
"""What a device's object for BPF says: the device, its variables, its maps.

Reads the file only; the types are those of its BTF.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.errors import BadFileError
from kvmbpf.model.objfile import read_device
from kvmbpf.model.objfile.btf import BTF_SECTION, Btf, BtfType, Kind
from kvmbpf.model.objfile.elf import ElfImage
from kvmbpf.model.spec import DeviceSpec
from kvmbpf.testing.types import (
    Array,
    CType,
    Integer,
    MapDefinition,
    Member,
    Opaque,
    Struct,
    Variable,
)

_MAPS = ".maps"
_PRIVATE = "kvmbpf_"
# sections that hold no state of the author's
_NOT_DATA = (
    *(_MAPS, ".struct_ops", ".ksyms", ".kconfig", "license"),
    *(".data.kvmbpf_", ".rodata.kvmbpf_"),  # the header's own
)
_SIGNED, _BOOL = 1, 4
_DEPTH = 16


@dataclass(frozen=True, slots=True)
class Description:
    """What an object says.

    :param spec: the device.
    :param variables: its global variables by name.
    :param maps: its maps by name; the header's own are not among them.
    """

    spec: DeviceSpec
    variables: dict[str, Variable]
    maps: dict[str, MapDefinition]


def describe(path: Path, source: Path | None = None) -> Description:
    """Read an object.

    :param path: what clang made of a device's source for BPF.
    :param source: what errors name in its place: the object may be in a cache.
    :raise BadFileError: when it is no device's object, or has no BTF.
    """
    try:
        return _describe(path)
    except BadFileError as error:
        raise BadFileError(
            source or path, error.reason, section=error.section, offset=error.offset
        ) from error


def _describe(path: Path) -> Description:
    spec = read_device(path)
    elf = ElfImage(path)
    section, btf = elf.section(BTF_SECTION), Btf.of(elf)
    if section is None or btf is None:
        raise BadFileError(path, "no type information; compile with -g", section=BTF_SECTION)
    reader = _Reader(btf, elf.data(section))
    variables: dict[str, Variable] = {}
    maps: dict[str, MapDefinition] = {}
    for data in btf.types(Kind.DATASEC):
        if data.name == _MAPS:
            maps |= reader.maps(data)
        elif not data.name.startswith(_NOT_DATA):
            variables |= reader.variables(data)
    return Description(spec, variables, maps)


class _Reader:
    """Makes types out of BTF.

    :param btf: the types.
    :param raw: the section, for what `Btf` does not decode.
    """

    def __init__(self, btf: Btf, raw: bytes) -> None:
        self._btf = btf
        self._raw = raw

    def variables(self, section: BtfType) -> dict[str, Variable]:
        """Return the variables of a data section."""
        return {
            item.name: Variable(item.name, section.name, item.offset, self.type(item.type_id))
            for item in self._btf.variables(section)
            if self._btf.resolve(item.type_id).kind is not Kind.FUNC
        }

    def maps(self, section: BtfType) -> dict[str, MapDefinition]:
        """Return the maps that are declared in ``.maps``."""
        return {
            item.name: self._map(item.name, self._btf.resolve(item.type_id))
            for item in self._btf.variables(section)
            if not item.name.startswith(_PRIVATE)
        }

    def _map(self, name: str, declared: BtfType) -> MapDefinition:
        """Read one: each member is a pointer, to a type or to an array as long as a number."""
        numbers: dict[str, int] = {}
        types: dict[str, CType] = {"key": Opaque(0), "value": Opaque(0)}
        for member in self._btf.members(declared):
            behind = self._btf.resolve(self._btf.resolve(member.type_id).target)
            if member.name in types:
                types[member.name] = self.type(behind.id)
            elif behind.kind is Kind.ARRAY:
                numbers[member.name] = self._btf.elements(behind)
        for word, sized in (("key", "key_size"), ("value", "value_size")):
            if sized in numbers:
                types[word] = Opaque(numbers[sized])
        return MapDefinition(
            name,
            numbers.get("type", 0),
            numbers.get("max_entries", 0),
            types["key"],
            types["value"],
        )

    def type(self, type_id: int, depth: int = 0) -> CType:
        """Return a type of BTF."""
        found = self._btf.resolve(type_id)
        size = self._btf.size_of(type_id)
        if depth > _DEPTH:
            return Opaque(size)
        if found.kind is Kind.INT:
            encoding = struct.unpack_from("<I", self._raw, found.offset)[0] >> 24
            return Integer(size, signed=bool(encoding & _SIGNED), boolean=bool(encoding & _BOOL))
        if found.kind in (Kind.ENUM, Kind.ENUM64):
            return Integer(size, signed=found.flag)
        if found.kind is Kind.PTR:
            return Integer(size)
        if found.kind is Kind.ARRAY:
            element = self.type(found.target, depth + 1)
            plain = isinstance(element, Integer) and element.size == 1 and not element.boolean
            return Opaque(size) if plain or element.size == 0 else Array(size, element)
        if found.kind in (Kind.STRUCT, Kind.UNION):
            return Struct(size, tuple(self._members(found, 0, depth + 1)))
        return Opaque(size)

    def _members(self, found: BtfType, base: int, depth: int) -> list[Member]:
        members: list[Member] = []
        for item in self._btf.members(found):
            inner = self._btf.resolve(item.type_id)
            if not item.name and inner.kind in (Kind.STRUCT, Kind.UNION) and depth < _DEPTH:
                members += self._members(inner, base + item.bit_offset, depth + 1)
                continue
            kind = self.type(item.type_id, depth)
            bits = item.bits or 8 * kind.size
            members.append(Member(item.name, kind, base + item.bit_offset, bits))
        return members
