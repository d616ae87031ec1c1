# SPDX-License-Identifier: GPL-2.0-or-later
"""The struct_ops maps of an object: which program is behind which member.

The map's value is a struct in a section ``.struct_ops*``; a member that is a
program is a pointer there, with a relocation to the program.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from kvmbpf.errors import BadFileError
from kvmbpf.model.objfile.btf import Btf, BtfType, Kind
from kvmbpf.model.objfile.elf import ElfImage
from kvmbpf.model.objfile.layout import STRUCT_OPS_SECTION
from kvmbpf.model.objfile.symbols import Section

# More of these than any object has.
MAX_OPS_MAPS = 64
MAX_OPS_MEMBERS = 256

_MAX_NUMBER_BYTES = 8


@dataclass(frozen=True, slots=True)
class OpsMap:
    """A struct_ops map.

    :param name: the C variable's name.
    :param section: its ELF section, as ``.struct_ops.link``.
    :param type_name: of the struct, as ``kvm_bpf_ops``.
    :param members: the struct's members, by name, with what they are set to: a
        program's name, or a number (C integers of up to 8 bytes); None for what
        is neither.
    """

    name: str
    section: str
    type_name: str
    members: dict[str, str | int | None]


def read_ops_maps(elf: ElfImage, btf: Btf) -> tuple[OpsMap, ...]:
    """Return the struct_ops maps of an object.

    :param elf: the object.
    :param btf: its types.
    :raise BadFileError: when types, symbols or relocations are broken.
    """
    found: list[OpsMap] = []
    for datasec in btf.types(Kind.DATASEC):
        name = datasec.name
        if name != STRUCT_OPS_SECTION and not name.startswith(f"{STRUCT_OPS_SECTION}."):
            continue
        section = elf.section(name)
        if section is None:
            raise BadFileError(elf.path, "has types, but is not there", section=name)
        for variable in btf.variables(datasec):
            if len(found) == MAX_OPS_MAPS:
                raise BadFileError(elf.path, f"more than {MAX_OPS_MAPS} maps", section=name)
            struct = btf.resolve(variable.type_id)
            members = {}
            if struct.kind is Kind.STRUCT:
                members = _members(elf, btf, section, variable.offset, struct)
            found.append(OpsMap(variable.name, name, struct.name, members))
    return tuple(found)


def _members(
    elf: ElfImage, btf: Btf, section: Section, start: int, struct: BtfType
) -> dict[str, str | int | None]:
    """Return what the members of a struct at a place are set to."""
    data = elf.data(section)
    programs = {item.offset: item.symbol.name for item in elf.relocations(section)}
    members: dict[str, str | int | None] = {}
    for member in itertools.islice(btf.members(struct), MAX_OPS_MEMBERS):
        offset = start + member.bit_offset // 8
        value: str | int | None = programs.get(offset) or None
        if value is None:
            size = _size(btf, member.type_id)
            value = _number(data, offset, size, little_endian=elf.little_endian)
        members[member.name] = value
    return members


def _size(btf: Btf, type_id: int) -> int:
    try:
        return btf.size_of(type_id)
    except BadFileError:  # as of a struct that is only declared
        return 0


def _number(data: bytes, offset: int, size: int, *, little_endian: bool) -> int | None:
    if not 0 < size <= _MAX_NUMBER_BYTES or offset + size > len(data):
        return None
    return int.from_bytes(data[offset : offset + size], "little" if little_endian else "big")
