# SPDX-License-Identifier: GPL-2.0-or-later
"""Carrying a device's state over to its new program.

State is in maps. Before a new object is loaded, `carry_over()` lets it use the
maps of the old one that are equal in name, kind, sizes and layout, data sections
(``.bss``, ``.data``) included; a map of the same name that is not equal is
refused, with the difference, before anything is changed. Constants and
struct_ops maps belong to a version and are never carried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kvmbpf.errors import LayoutError, StateError
from kvmbpf.libbpf.layout import section_difference, type_difference
from kvmbpf.libbpf.map import BpfMap, ObjectMap
from kvmbpf.libbpf.object import BpfObject
from kvmbpf.uapi import bpf as uapi

_NEVER = (".rodata", ".kconfig", ".ksyms")


@dataclass(frozen=True)
class Carried:
    """What a new object takes over, by state name.

    :param carried: maps that it shares with the old one from now on.
    :param new: maps that it brings itself, empty.
    :param dropped: maps of the old one that it has no use for.
    """

    carried: tuple[str, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]


def state_name(name: str, found: BpfMap) -> str | None:
    """Return the name under which a map's state is carried, or None for never.

    :param name: the map's own name; a data section's starts with its object's
        name, which may differ between versions, so its section counts.
    """
    if found.type == uapi.BPF_MAP_TYPE_STRUCT_OPS:
        return None
    section = found.section
    if section is None:
        return name
    return None if section.startswith(_NEVER) else section


def map_difference(old: BpfMap, new: BpfMap) -> str | None:
    """Return how a new map differs from an old one, or None.

    :raise KernelCallError: when the kernel does not give out a map's types.
    """
    a, b = old.spec, new.spec
    if a.type != b.type:
        return f"map type was {a.type}, is {b.type}"
    sections = old.section, new.section
    if sections != (None, None):
        if None in sections or old.btf is None or new.btf is None:
            return "one of them is a data section without types"
        found = section_difference(old.btf, a.value_type_id, new.btf, b.value_type_id)
        if found is not None:
            return found
    for what, before, after in (
        ("key", a.key_size, b.key_size),
        ("value", a.value_size, b.value_size),
    ):
        if before != after:
            return f"{what} was {before} bytes, is {after}"
    if a.max_entries != b.max_entries:
        return f"max_entries was {a.max_entries}, is {b.max_entries}"
    if sections != (None, None) or old.btf is None or new.btf is None:
        return None
    for what, before, after in (
        ("key", a.key_type_id, b.key_type_id),
        ("value", a.value_type_id, b.value_type_id),
    ):
        if before and after:
            found = type_difference(old.btf, before, new.btf, after, what)
            if found is not None:
                return found
    return None


def _check_sections(new: BpfObject, before: Mapping[str, BpfMap]) -> None:
    """Refuse a variable that went to another section: its value would be lost.

    It does so when it gets an initial value, loses it, or becomes a constant.
    """
    olds = {variable: section for section, old in before.items() for variable in old.globals}
    for found in new.maps.values():
        for variable in found.globals:
            section = olds.get(variable, found.section)
            if section != found.section:
                raise LayoutError(
                    f"{new.path}: state {section}: variable `{variable}` went to {found.section}"
                )


def carry_over(new: BpfObject, old: Mapping[str, BpfMap]) -> Carried:
    """Let an object that is not loaded yet use the maps of the one before it.

    :param new: the new object; load it afterwards.
    :param old: the old object's maps by name, perhaps opened from pins. They
        may be closed afterwards.
    :return: what is carried, new and dropped.
    :raise LayoutError: when a map of both differs; nothing was changed then.
    :raise StateError: when the new object is loaded, or something is closed.
    :raise KernelCallError: when the kernel refuses.
    """
    if new.loaded:
        raise StateError(f"{new.path}: state is carried over before load(), not after")
    before: dict[str, BpfMap] = {}
    for name, found in old.items():
        key = state_name(name, found)
        if key is not None:
            before[key] = found
    _check_sections(new, before)
    pairs: list[tuple[str, BpfMap, ObjectMap]] = []
    fresh: list[str] = []
    for name, wanted in new.maps.items():
        key = state_name(name, wanted)
        if key is None or not wanted.autocreate:
            continue
        if key not in before:
            fresh.append(key)
            continue
        difference = map_difference(before[key], wanted)
        if difference is not None:
            raise LayoutError(f"{new.path}: state {key}: {difference}")
        pairs.append((key, before[key], wanted))
    for _, source, wanted in pairs:
        wanted.reuse(source)
    carried = tuple(key for key, _, _ in pairs)
    dropped = tuple(key for key in before if key not in carried)
    return Carried(carried, tuple(fresh), dropped)
