# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether two types, from two sets of types, lay out memory equally.

State outlives the program that made it, so it must be read by its successor
as it was written: same places, same sizes, same meaning of the bytes. Typedefs
and qualifiers do not count, and a pointer counts as one, with its target's name
and tags. Members of anonymous structs and unions are the outer one's. Every
difference is told, with its place, as a sentence and in parts; a struct that
occurs twice is compared once.

    variable `device`: struct state: field `head` moved from 8 to 16
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from kvmbpf.errors import LayoutDifference
from kvmbpf.kernel.libbpf.btf import Btf, BtfMember, BtfType, BtfVariable
from kvmbpf.kernel.libbpf.spelling import spell
from kvmbpf.kernel.libbpf.values import KERNEL_OWNED
from kvmbpf.kernel.uapi import bpf as uapi

_ENUMS = (uapi.BTF_KIND_ENUM, uapi.BTF_KIND_ENUM64)
_DEEPEST = 32  # as the kernel allows
_RECORDS = (uapi.BTF_KIND_STRUCT, uapi.BTF_KIND_UNION)


class _Spot(NamedTuple):
    """What is compared: a variable, a key or a value, or a field in it.

    :param path: of the variable, or of what has the field, as ``device.slots[]``.
    :param variable: whether it begins with a variable.
    :param struct: as ``struct state``; empty where it has no name.
    :param field: empty for the variable itself.
    """

    path: str
    variable: bool
    struct: str = ""
    field: str = ""

    @property
    def place(self) -> str:
        return f"variable `{self.path}`" if self.variable else self.path

    def __str__(self) -> str:
        if not self.field:
            return self.place
        return ": ".join(filter(None, (self.place, self.struct, f"field `{self.field}`")))

    def element(self) -> _Spot:
        """Return the spot of an array's elements."""
        if self.field:
            return self._replace(field=f"{self.field}[]")
        return self._replace(path=f"{self.path}[]")

    def inside(self, struct: str) -> _Spot:
        """Return the spot of which this one's fields are, but for their names."""
        path = f"{self.path}.{self.field}" if self.field else self.path
        return _Spot(path, self.variable, struct)


class _Flat(NamedTuple):
    """A member, or an anonymous member's member; `bit_offset` from the outermost."""

    type_id: int
    bit_offset: int
    bit_size: int


@dataclass
class _Compare:
    """One comparison of an old set of types with a new one."""

    state: str
    old: Btf
    new: Btf
    found: list[LayoutDifference] = field(default_factory=list)
    seen: set[tuple[int, int]] = field(default_factory=set)
    equals: dict[tuple[int, int], bool] = field(default_factory=dict)

    def tell(self, spot: _Spot, what: str, before: object, after: object, words: str) -> None:
        """Add a difference."""
        text = f"{spot} {words}"
        parts = (spot.place, spot.struct if spot.field else "", spot.field)
        self.found.append(LayoutDifference(self.state, *parts, what, str(before), str(after), text))

    def types(self, old_id: int, new_id: int, spot: _Spot) -> None:
        """Compare two types."""
        if (old_id, new_id) in self.seen:
            return
        self.seen.add((old_id, new_id))
        a_id, b_id = self.old.resolve(old_id), self.new.resolve(new_id)
        if (a_id, b_id) != (old_id, new_id):
            if (a_id, b_id) in self.seen:
                return
            self.seen.add((a_id, b_id))
        a, b = self.old.get(a_id), self.new.get(b_id)
        enums = a.kind in _ENUMS and b.kind in _ENUMS
        if a.kind == b.kind == uapi.BTF_KIND_ARRAY:
            self._arrays(a, b, spot)
        elif a.kind == b.kind == uapi.BTF_KIND_PTR:
            self._pointers(a, b, spot)
        elif a.kind == b.kind and a.kind in _RECORDS:
            self._records(a, b, spot)
        elif (a.kind != b.kind and not enums) or a.size != b.size:
            self._other_type(old_id, new_id, spot)
        elif enums:
            self._enums(a_id, b_id, spot)
        elif a.encoding != b.encoding:
            self._other_type(old_id, new_id, spot)

    def _other_type(self, old_id: int, new_id: int, spot: _Spot) -> None:
        before, after = spell(self.old, old_id), spell(self.new, new_id)
        if before == after:  # a typedef of another thing
            before = spell(self.old, self.old.resolve(old_id))
            after = spell(self.new, self.new.resolve(new_id))
        sizes = self.old.size_of(old_id), self.new.size_of(new_id)
        if sizes[0] == sizes[1]:
            self.tell(spot, "type", before, after, f"was `{before}`, is `{after}`")
        else:
            words = f"was `{before}`, {sizes[0]} bytes, is `{after}`, {sizes[1]} bytes"
            self.tell(spot, "size", sizes[0], sizes[1], words)

    def _arrays(self, a: BtfType, b: BtfType, spot: _Spot) -> None:
        if a.length != b.length:
            words = f"had {a.length} elements, has {b.length}"
            self.tell(spot, "count", a.length, b.length, words)
        self.types(a.type_id, b.type_id, spot.element())

    def _pointers(self, a: BtfType, b: BtfType, spot: _Spot) -> None:
        before = f"{spell(self.old, self.old.resolve(a.type_id))} *{_tags(self.old, a)}"
        after = f"{spell(self.new, self.new.resolve(b.type_id))} *{_tags(self.new, b)}"
        if before != after:
            self.tell(spot, "type", before, after, f"was `{before}`, is `{after}`")

    def _enums(self, old_id: int, new_id: int, spot: _Spot) -> None:
        """An enum may get new names; one that it had must mean the same."""
        after = self.new.enumerators(new_id)
        for name, value in self.old.enumerators(old_id).items():
            if name in after and after[name] != value:
                words = f"has {name} = {after[name]}, had {value}"
                self.tell(spot, "enumerator", value, after[name], words)

    def _records(self, a: BtfType, b: BtfType, spot: _Spot) -> None:
        if a.name in KERNEL_OWNED or b.name in KERNEL_OWNED:
            if a.name != b.name or a.size != b.size:
                words = f"was `struct {a.name}`, is `struct {b.name}`"
                self.tell(spot, "type", a.name, b.name, words)
            return
        before = len(self.found)
        word = "union" if a.kind == uapi.BTF_KIND_UNION else "struct"
        inner = spot.inside(f"{word} {b.name}" if b.name else "")
        olds, news = _flat(self.old, a.members), _flat(self.new, b.members)
        renamed = {} if olds.keys() == news.keys() else self._renamed(olds, news)
        for name, old in olds.items():
            new = news.get(name)
            if new is not None and old[1:] == new[1:] and (old.type_id, new.type_id) in self.seen:
                continue
            spot_of = inner._replace(field=name)
            if new is not None:
                self._members(old, new, spot_of)
            elif name in renamed:
                after = renamed[name]
                self.tell(spot_of, "renamed", name, after, f"is called `{after}` now")
            else:
                self.tell(spot_of, "gone", _bits(old.bit_offset), "", "is gone")
        for name in [name for name in news if name not in olds and name not in renamed.values()]:
            at = _bits(news[name].bit_offset)
            self.tell(inner._replace(field=name), "new", "", at, f"is new, at {at}")
        if a.size != b.size and len(self.found) == before:
            self.tell(spot, "size", a.size, b.size, f"was {a.size} bytes, is {b.size}")

    def _members(self, old: _Flat, new: _Flat, spot: _Spot) -> None:
        if old.bit_offset != new.bit_offset:
            before, after = _bits(old.bit_offset), _bits(new.bit_offset)
            self.tell(spot, "moved", before, after, f"moved from {before} to {after}")
        if old.bit_size != new.bit_size:
            bits = _width(self.old, old), _width(self.new, new)
            self.tell(spot, "size", *bits, f"was {bits[0]} bits, is {bits[1]}")
            return
        self.types(old.type_id, new.type_id, spot)

    def _renamed(self, olds: dict[str, _Flat], news: dict[str, _Flat]) -> dict[str, str]:
        """Return what has another name only: old -> new."""
        gone = {name: old for name, old in olds.items() if name not in news}
        fresh = {new.bit_offset: name for name, new in news.items() if name not in olds}
        found = {}
        for name, old in gone.items():
            after = fresh.get(old.bit_offset)
            if after is None or old.bit_size != news[after].bit_size:
                continue
            if self.equal(old.type_id, news[after].type_id):
                found[name] = after
        return found

    def equal(self, old_id: int, new_id: int) -> bool:
        """Tell whether two types are laid out equally."""
        if (old_id, new_id) not in self.equals:
            other = _Compare(self.state, self.old, self.new, equals=self.equals)
            self.equals[old_id, new_id] = True  # of a type that contains itself, wrongly
            other.types(old_id, new_id, _Spot("", variable=False))
            self.equals[old_id, new_id] = not other.found
        return self.equals[old_id, new_id]

    def sections(self, old_id: int, new_id: int) -> None:
        """Compare two data sections, variable by variable."""
        olds = {variable.name: variable for variable in self.old.variables(old_id)}
        news = {variable.name: variable for variable in self.new.variables(new_id)}
        renamed = {} if olds.keys() == news.keys() else self._renamed_variables(olds, news)
        for name, a in olds.items():
            if name in news and (a.type_id, news[name].type_id) in self.seen:
                continue
            spot = _Spot(name, variable=True)
            if name in news:
                self.types(a.type_id, news[name].type_id, spot)
            elif name in renamed:
                self.tell(spot, "renamed", name, renamed[name], f"is called `{renamed[name]}` now")
            else:
                self.tell(spot, "gone", a.offset, "", "is gone")
        for name in [name for name in news if name not in olds and name not in renamed.values()]:
            words = "is new: a section that grows cannot be carried over"
            self.tell(_Spot(name, variable=True), "new", "", news[name].offset, words)
        if self.found:
            return  # what comes after them has moved, of course
        for name, a in olds.items():
            b = news[name]
            if a.offset != b.offset:
                words = f"moved from {a.offset} to {b.offset}"
                self.tell(_Spot(name, variable=True), "moved", a.offset, b.offset, words)

    def _renamed_variables(
        self, olds: dict[str, BtfVariable], news: dict[str, BtfVariable]
    ) -> dict[str, str]:
        fresh = {new.offset: name for name, new in news.items() if name not in olds}
        found = {}
        for name, a in olds.items():
            after = fresh.get(a.offset)
            if name not in news and after and self.equal(a.type_id, news[after].type_id):
                found[name] = after
        return found


def type_differences(
    state: str, old: Btf, old_id: int, new: Btf, new_id: int, where: str
) -> list[LayoutDifference]:
    """Return how a new type differs from an old one in layout.

    :param state: the name of the map.
    :param old_id: the type in `old` (C ``__u32``).
    :param new_id: the type in `new` (C ``__u32``).
    :param where: what has the type: ``key`` or ``value``.
    """
    compare = _Compare(state, old, new)
    compare.types(old_id, new_id, _Spot(where, variable=False))
    return compare.found


def section_differences(
    state: str, old: Btf, old_id: int, new: Btf, new_id: int
) -> list[LayoutDifference]:
    """Return how a new data section differs from an old one.

    :param state: the section's name, as ``.bss``.
    :param old_id: the ``BTF_KIND_DATASEC`` in `old` (C ``__u32``).
    :param new_id: the ``BTF_KIND_DATASEC`` in `new` (C ``__u32``).
    """
    compare = _Compare(state, old, new)
    compare.sections(old_id, new_id)
    return compare.found


def _flat(
    btf: Btf, members: Sequence[BtfMember], base: int = 0, depth: int = 0
) -> dict[str, _Flat]:
    """Return members by name, those of anonymous members among them."""
    found: dict[str, _Flat] = {}
    for member in members:
        offset = base + member.bit_offset
        if member.name:
            found[member.name] = _Flat(member.type_id, offset, member.bit_size)
        elif depth < _DEEPEST:
            inner = btf.get(btf.resolve(member.type_id))
            found.update(_flat(btf, inner.members, offset, depth + 1))
    return found


def _tags(btf: Btf, pointer: BtfType) -> str:
    """Return a pointer's tags, as `` __kptr``: they say what may be kept in it."""
    tags, target = "", btf.get(pointer.type_id)
    while target.kind == uapi.BTF_KIND_TYPE_TAG:
        tags += f" __{target.name}"
        target = btf.get(target.type_id)
    return tags


def _width(btf: Btf, member: _Flat) -> int:
    return member.bit_size or 8 * btf.size_of(member.type_id)


def _bits(offset: int) -> str:
    return f"bit {offset}" if offset % 8 else str(offset // 8)
