# SPDX-License-Identifier: GPL-2.0-or-later
"""The maps and the state that an object brings, with their C types.

Where they lie comes from the ELF symbols, what they are from BTF; an object
without BTF has them without types. The layout of a struct is followed to a
depth, and a device's to a number of fields, so that no file costs much.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from kvmbpf.errors import BadFileError
from kvmbpf.model.objfile.btf import Btf, Kind, Variable
from kvmbpf.model.objfile.elf import ElfImage
from kvmbpf.model.objfile.names import map_type_name
from kvmbpf.model.objfile.symbols import Symbol

MAX_FIELDS = 4096
MAX_STRUCT_DEPTH = 8

# A map's definition has up to 11 members.
_MAP_MEMBERS = 32

MAPS_SECTION = ".maps"
STRUCT_OPS_SECTION = ".struct_ops"
_STATE_SECTIONS = (".bss", ".data")
# Sections of kvmbpf.bpf.h's own: not the author's state.
_PRIVATE = (".data.kvmbpf_", ".bss.kvmbpf_")


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """A member of a struct in the state.

    :param name: empty for an anonymous struct or union.
    :param type: as C writes it.
    :param bit_offset: from the start of the variable, in bits.
    :param bits: size of a bit field, in bits; 0 for a plain member.
    :param fields: of a struct or union.
    """

    name: str
    type: str
    bit_offset: int
    bits: int
    fields: tuple[FieldInfo, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the field as a dictionary that `json.dumps` takes."""
        return {
            "name": self.name,
            "type": self.type,
            "bit_offset": self.bit_offset,
            "bits": self.bits,
            "fields": [field.to_json() for field in self.fields],
        }


@dataclass(frozen=True, slots=True)
class StateInfo:
    """A global variable, which survives a hot update.

    :param name: the C variable's name.
    :param section: its ELF section, as ``.bss``.
    :param offset: in the section, in bytes.
    :param size: in bytes.
    :param type: as C writes it; empty where it is not known.
    :param fields: of a struct or union, or of an array's element.
    """

    name: str
    section: str
    offset: int
    size: int
    type: str = ""
    fields: tuple[FieldInfo, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the variable as a dictionary that `json.dumps` takes."""
        return {
            "name": self.name,
            "section": self.section,
            "offset": self.offset,
            "size": self.size,
            "type": self.type,
            "fields": [field.to_json() for field in self.fields],
        }


@dataclass(frozen=True, slots=True)
class MapInfo:
    """A map that the author or the header defined.

    :param name: the C variable's name.
    :param section: its ELF section, ``.maps`` or ``.struct_ops.link``.
    :param type: as ``hash``; empty where it is not known.
    :param key_size: in bytes; 0 for a map without keys.
    :param value_size: in bytes.
    :param entries: at most so many, or the bytes of a ring buffer.
    :param value_type: as C writes it; empty where it is not known.
    :param pinning: how libbpf would pin it: 1 by its name, 0 not at all.
    """

    name: str
    section: str
    type: str = ""
    key_size: int = 0
    value_size: int = 0
    entries: int = 0
    value_type: str = ""
    pinning: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the map as a dictionary that `json.dumps` takes."""
        return {
            "name": self.name,
            "section": self.section,
            "type": self.type,
            "key_size": self.key_size,
            "value_size": self.value_size,
            "entries": self.entries,
            "value_type": self.value_type,
        }


def read_state(elf: ElfImage, btf: Btf | None) -> tuple[StateInfo, ...]:
    """Return the global variables that are the device's state, by section and offset.

    :param elf: the object.
    :param btf: its types, or None.
    :raise BadFileError: when the symbols or types are broken.
    """
    symbols = sorted(
        _objects(elf, _STATE_SECTIONS, _PRIVATE), key=lambda item: (item[0], item[1].value)
    )
    typed = {} if btf is None else _variables(btf, {section for section, _ in symbols})
    fields = _Fields(btf)
    found = []
    for section, symbol in symbols:
        variable = typed.get((section, symbol.name))
        state = StateInfo(symbol.name, section, symbol.value, symbol.size)
        if variable is not None and btf is not None:
            state = StateInfo(
                symbol.name,
                section,
                symbol.value,
                symbol.size,
                btf.declaration(variable.type_id),
                fields.of(variable.type_id),
            )
        found.append(state)
    return tuple(found)


def read_maps(elf: ElfImage, btf: Btf | None) -> tuple[MapInfo, ...]:
    """Return the maps that an object defines, the struct_ops maps included.

    :param elf: the object.
    :param btf: its types, or None.
    :raise BadFileError: when the symbols or types are broken.
    """
    symbols = list(_objects(elf, (MAPS_SECTION, STRUCT_OPS_SECTION), ()))
    typed = {} if btf is None else _variables(btf, {section for section, _ in symbols})
    found = []
    for section, symbol in symbols:
        variable = typed.get((section, symbol.name))
        if variable is None or btf is None:
            found.append(MapInfo(symbol.name, section))
        elif section == MAPS_SECTION:
            found.append(_map(btf, variable))
        else:
            found.append(
                MapInfo(
                    symbol.name,
                    section,
                    type="struct_ops",
                    key_size=4,
                    value_size=symbol.size,
                    entries=1,
                    value_type=btf.declaration(variable.type_id),
                )
            )
    return tuple(found)


def _objects(
    elf: ElfImage, sections: tuple[str, ...], without: tuple[str, ...]
) -> list[tuple[str, Symbol]]:
    """Return the variables in these sections and in their dotted children."""
    return [
        (symbol.section.name, symbol)
        for symbol in elf.variables()
        if symbol.section is not None
        and any(
            symbol.section.name == name or symbol.section.name.startswith(f"{name}.")
            for name in sections
        )
        and not symbol.section.name.startswith(without)
    ]


def _variables(btf: Btf, sections: set[str]) -> dict[tuple[str, str], Variable]:
    """Return the typed variables by section and name."""
    return {
        (datasec.name, variable.name): variable
        for datasec in btf.types(Kind.DATASEC)
        if datasec.name in sections
        for variable in btf.variables(datasec)
    }


class _Fields:
    """Follows the members of structs, and counts them."""

    def __init__(self, btf: Btf | None) -> None:
        self._btf = btf
        self._left = MAX_FIELDS

    def of(
        self, type_id: int, bit_offset: int = 0, depth: int = MAX_STRUCT_DEPTH
    ) -> tuple[FieldInfo, ...]:
        """Return the members of a struct or union, or of an array's element."""
        btf = self._btf
        if btf is None or depth == 0:
            return ()
        found = btf.resolve(type_id)
        for _ in range(MAX_STRUCT_DEPTH):
            if found.kind is not Kind.ARRAY:
                break
            found = btf.resolve(found.target)
        if found.kind not in (Kind.STRUCT, Kind.UNION):
            return ()
        fields = []
        for member in btf.members(found):
            self._left -= 1
            if self._left < 0:
                break
            offset = bit_offset + member.bit_offset
            fields.append(
                FieldInfo(
                    member.name,
                    btf.declaration(member.type_id),
                    offset,
                    member.bits,
                    self.of(member.type_id, offset, depth - 1),
                )
            )
        return tuple(fields)


def _map(btf: Btf, variable: Variable) -> MapInfo:
    """Decode a map's definition: a struct whose members' types are what it says."""
    definition = btf.resolve(variable.type_id)
    numbers: dict[str, int] = {}
    types: dict[str, int] = {}
    if definition.kind is Kind.STRUCT:
        for member in itertools.islice(btf.members(definition), _MAP_MEMBERS):
            pointer = btf.resolve(member.type_id)
            if pointer.kind is not Kind.PTR:
                continue
            if member.name in ("key", "value"):
                types[member.name] = pointer.target
            else:
                number = _number(btf, pointer.target)
                if number is not None:
                    numbers[member.name] = number
    return MapInfo(
        variable.name,
        MAPS_SECTION,
        type=map_type_name(numbers.get("type", 0)),
        key_size=_size(btf, types.get("key"), numbers.get("key_size", 0)),
        value_size=_size(btf, types.get("value"), numbers.get("value_size", 0)),
        entries=numbers.get("max_entries", 0),
        value_type=btf.declaration(types["value"]) if "value" in types else "",
        pinning=numbers.get("pinning", 0),
    )


def _number(btf: Btf, type_id: int) -> int | None:
    """Return the number that __uint() hides in the length of an array."""
    array = btf.resolve(type_id)
    return btf.elements(array) if array.kind is Kind.ARRAY else None


def _size(btf: Btf, type_id: int | None, stated: int) -> int:
    if type_id is None:
        return stated
    try:
        return btf.size_of(type_id)
    except BadFileError:  # as of a type that is only declared
        return stated
