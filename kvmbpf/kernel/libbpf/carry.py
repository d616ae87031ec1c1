# SPDX-License-Identifier: GPL-2.0-or-later
"""Carrying a device's state over to its new program.

State is in maps. Before a new object is loaded, `carry_over()` lets it use the
maps of the old one that are equal in name, kind, sizes and layout, data sections
(``.bss``, ``.data``) included; a map of the same name that is not equal is
refused, with every difference, before anything is changed. `compare_state()` tells the
same without an error and changes nothing. Constants and struct_ops maps belong
to a version and are never carried.

The log of the author's header (ring ``kvmbpf_log_ring`` and the flag's section
``.data.kvmbpf_log``) is carried over so that who listens hears the new version
too. It is no state of the device's: where the header's log has changed, the new
object brings its own, and who listened begins anew. Timers and works (maps
``kvmbpf_timer_*`` and the like) are state as any other: one that is under way is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kvmbpf.errors import LayoutDifference, LayoutError, StateError
from kvmbpf.kernel.libbpf.layout import section_differences, type_differences
from kvmbpf.kernel.libbpf.map import BpfMap
from kvmbpf.kernel.libbpf.object import BpfObject
from kvmbpf.kernel.libbpf.object_map import ObjectMap
from kvmbpf.kernel.uapi import bpf as uapi

_NEVER = (".rodata", ".kconfig", ".ksyms")
_LOG = ("kvmbpf_log_", ".data.kvmbpf_log")
# Flags that the kernel does not keep: they are of the descriptor, not of the map.
_NOT_KEPT = uapi.BPF_F_RDONLY | uapi.BPF_F_WRONLY


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


@dataclass(frozen=True)
class StateComparison:
    """What a new object would take over.

    :param carried: what `carry_over` would give, as if there were no difference.
    :param differences: all reasons for which it would refuse; empty if it would not.
    """

    carried: Carried
    differences: tuple[LayoutDifference, ...]


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


def is_header_log(name: str) -> bool:
    """Tell whether a state is the log of the author's header, not the device's own.

    :param name: as `state_name` gives it.
    """
    return name.startswith(_LOG)


def map_differences(state: str, old: BpfMap, new: BpfMap) -> list[LayoutDifference]:
    """Return how a new map differs from an old one.

    :param state: its name in the differences.
    :raise KernelCallError: when the kernel does not give out a map's types.
    """
    a, b = old.spec, new.spec
    sections = old.section, new.section
    if a.type != b.type or (sections[0] is None) != (sections[1] is None):
        kinds = _kind(old), _kind(new)
        return [_difference(state, "kind", *kinds, f"was a map of kind {kinds[0]}, is {kinds[1]}")]
    if sections[0] is not None and old.btf is not None and new.btf is not None:
        return section_differences(
            state, old.btf, a.value_type_id, new.btf, b.value_type_id
        ) or _number(state, "value_size", a.value_size, b.value_size)
    found: list[LayoutDifference] = []
    for part, before, after, was, now in (
        ("key", a.key_type_id, b.key_type_id, a.key_size, b.key_size),
        ("value", a.value_type_id, b.value_type_id, a.value_size, b.value_size),
    ):
        typed: list[LayoutDifference] = []
        if before and after and old.btf is not None and new.btf is not None:
            typed = type_differences(state, old.btf, before, new.btf, after, part)
        found += typed or _number(state, f"{part}_size", was, now)
    if not (b.type == uapi.BPF_MAP_TYPE_PERF_EVENT_ARRAY and b.max_entries == 0):
        # else libbpf makes it of as many entries as there are CPUs
        found += _number(state, "max_entries", a.max_entries, b.max_entries)
    found += _number(state, "flags", a.flags & ~_NOT_KEPT, b.flags & ~_NOT_KEPT)
    return found


def _kind(found: BpfMap) -> str:
    if found.section is not None:
        return "data section"
    return uapi.MAP_TYPE_NAMES.get(found.type, str(found.type))


def _number(state: str, what: str, before: int, after: int) -> list[LayoutDifference]:
    if before == after:
        return []
    was, now = (hex(before), hex(after)) if what == "flags" else (str(before), str(after))
    return [_difference(state, what, was, now, f"{what} was {was}, is {now}")]


def _difference(state: str, what: str, before: str, after: str, text: str) -> LayoutDifference:
    return LayoutDifference(state, "", "", "", what, before, after, text)


def _moved_variables(new: BpfObject, before: Mapping[str, BpfMap]) -> list[LayoutDifference]:
    """Return the variables that went to another section: their values would be lost.

    One does so when it gets an initial value, loses it, or becomes a constant.
    """
    olds = {item.name: section for section, old in before.items() for item in old.variables}
    found = []
    for data in new.maps.values():
        now = data.section or ""
        for item in data.variables:
            was = olds.get(item.name)
            if was is not None and was != now:
                place = f"variable `{item.name}`"
                text = f"{place} went to {now}"
                found.append(LayoutDifference(was, place, "", "", "section", was, now, text))
    return found


@dataclass(frozen=True)
class _Plan:
    pairs: tuple[tuple[str, BpfMap, ObjectMap], ...]
    fresh: tuple[str, ...]
    dropped: tuple[str, ...]
    differences: tuple[LayoutDifference, ...]

    @property
    def carried(self) -> Carried:
        return Carried(tuple(key for key, _, _ in self.pairs), self.fresh, self.dropped)


def _plan(new: BpfObject, old: Mapping[str, BpfMap]) -> _Plan:
    if new.loaded:
        raise StateError(f"{new.path}: state is carried over before load(), not after")
    keys = ((state_name(name, found), found) for name, found in old.items())
    before = {key: found for key, found in keys if key is not None}
    moved = _moved_variables(new, before)
    elsewhere = {difference.place for difference in moved}
    differences = list(moved)
    pairs: list[tuple[str, BpfMap, ObjectMap]] = []
    fresh: list[str] = []
    for name, wanted in new.maps.items():
        key = state_name(name, wanted)
        if key is None or not wanted.autocreate:
            continue
        found = map_differences(key, before[key], wanted) if key in before else []
        if key not in before or (found and is_header_log(key)):
            fresh.append(key)
            continue
        # that it is gone here and new there is known already
        differences += [one for one in found if one.place not in elsewhere]
        pairs.append((key, before[key], wanted))
    used = {*fresh, *(key for key, _, _ in pairs)}
    dropped = tuple(key for key in before if key not in used)
    return _Plan(tuple(pairs), tuple(fresh), dropped, tuple(differences))


def compare_state(new: BpfObject, old: Mapping[str, BpfMap]) -> StateComparison:
    """Tell what `carry_over` would do; change nothing.

    :param new: the new object, not loaded.
    :param old: the old object's maps by name, perhaps opened from pins.
    :raise StateError: when the new object is loaded, or something is closed.
    :raise KernelCallError: when the kernel refuses.
    """
    plan = _plan(new, old)
    return StateComparison(plan.carried, plan.differences)


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
    plan = _plan(new, old)
    if plan.differences:
        more = len(plan.differences) - 1
        rest = f"; and {more} more difference{'s' * (more > 1)}" if more else ""
        raise LayoutError(f"{new.path}: {plan.differences[0]}{rest}", plan.differences)
    for _, source, wanted in plan.pairs:
        wanted.reuse(source)
    return plan.carried
