# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether two types, from two sets of types, lay out memory equally.

State outlives the program that made it, so it must be read by its successor
as it was written: same places, same sizes, same meaning of the bytes. Typedefs
and qualifiers do not count, and a pointer counts as one, with its target's name.
A difference is told as a sentence with the place in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kvmbpf.libbpf.btf import Btf, BtfType
from kvmbpf.uapi import bpf as uapi

_KIND_NAMES = {
    uapi.BTF_KIND_VOID: "void",
    uapi.BTF_KIND_INT: "integer",
    uapi.BTF_KIND_PTR: "pointer",
    uapi.BTF_KIND_ARRAY: "array",
    uapi.BTF_KIND_STRUCT: "struct",
    uapi.BTF_KIND_UNION: "union",
    uapi.BTF_KIND_ENUM: "enum",
    uapi.BTF_KIND_ENUM64: "enum",
    uapi.BTF_KIND_FLOAT: "float",
}
_ENUMS = (uapi.BTF_KIND_ENUM, uapi.BTF_KIND_ENUM64)


@dataclass
class _Compare:
    """One comparison of an old set of types with a new one."""

    old: Btf
    new: Btf
    seen: set[tuple[int, int]] = field(default_factory=set)

    def types(self, old_id: int, new_id: int, where: str) -> str | None:
        """Return the first difference, or None."""
        old_id, new_id = self.old.resolve(old_id), self.new.resolve(new_id)
        if (old_id, new_id) in self.seen:
            return None
        self.seen.add((old_id, new_id))
        a, b = self.old.get(old_id), self.new.get(new_id)
        if a.kind != b.kind:
            return f"{where} was {_describe(a)}, is {_describe(b)}"
        if a.size != b.size:
            return f"{where} was {a.size} bytes, is {b.size}"
        if a.kind in _ENUMS:
            return self._enums(old_id, new_id, where)
        if a.encoding != b.encoding:
            return f"{where} was {_describe(a)}, is {_describe(b)}"
        if a.kind == uapi.BTF_KIND_ARRAY:
            if a.count != b.count:
                return f"{where} had {a.count} elements, has {b.count}"
            return self.types(a.type_id, b.type_id, f"{where}[]")
        if a.kind == uapi.BTF_KIND_PTR:
            return self._pointers(a, b, where)
        if a.kind in (uapi.BTF_KIND_STRUCT, uapi.BTF_KIND_UNION):
            return self._members(a, b, where)
        return None

    def _enums(self, old_id: int, new_id: int, where: str) -> str | None:
        """An enum may get new names; one that it had must mean the same."""
        after = self.new.enumerators(new_id)
        for name, value in self.old.enumerators(old_id).items():
            if name in after and after[name] != value:
                return f"{where}: {name} was {value}, is {after[name]}"
        return None

    def _pointers(self, a: BtfType, b: BtfType, where: str) -> str | None:
        old = self.old.get(self.old.resolve(a.type_id))
        new = self.new.get(self.new.resolve(b.type_id))
        if (old.kind, old.name) != (new.kind, new.name):
            return f"{where} pointed to {_describe(old)}, points to {_describe(new)}"
        return None

    def _members(self, a: BtfType, b: BtfType, where: str) -> str | None:
        olds = {_key(index, m.name): m for index, m in enumerate(a.members)}
        news = {_key(index, m.name): m for index, m in enumerate(b.members)}
        for name, old in olds.items():
            new = news.get(name)
            if new is None:
                return f"{where}.{name} is gone"
            if old.bit_offset != new.bit_offset:
                return (
                    f"{where}.{name} moved from {_bits(old.bit_offset)} to {_bits(new.bit_offset)}"
                )
            if old.bit_size != new.bit_size:
                return f"{where}.{name} was {old.bit_size} bits, is {new.bit_size}"
            found = self.types(old.type_id, new.type_id, f"{where}.{name}")
            if found is not None:
                return found
        for name in news:
            if name not in olds:
                return f"{where}.{name} is new"
        return None


def type_difference(old: Btf, old_id: int, new: Btf, new_id: int, where: str) -> str | None:
    """Return how a new type differs from an old one in layout.

    :param old_id: the type in `old` (C ``__u32``).
    :param new_id: the type in `new` (C ``__u32``).
    :param where: what has the type, for the sentence.
    :return: the first difference, or None.
    """
    return _Compare(old, new).types(old_id, new_id, where)


def section_difference(old: Btf, old_id: int, new: Btf, new_id: int) -> str | None:
    """Return how a new data section differs from an old one.

    :param old_id: the ``BTF_KIND_DATASEC`` in `old` (C ``__u32``).
    :param new_id: the ``BTF_KIND_DATASEC`` in `new` (C ``__u32``).
    :return: the first difference, or None.
    """
    olds = {variable.name: variable for variable in old.variables(old_id)}
    news = {variable.name: variable for variable in new.variables(new_id)}
    for name, a in olds.items():
        b = news.get(name)
        if b is None:
            return f"variable `{name}` is gone"
        if a.size != b.size:
            return f"variable `{name}` was {a.size} bytes, is {b.size}"
        found = type_difference(old, a.type_id, new, b.type_id, f"variable `{name}`")
        if found is not None:
            return found
    for name in news:
        if name not in olds:
            return f"variable `{name}` is new: a section that grows cannot be carried over"
    for name, a in olds.items():
        if a.offset != news[name].offset:
            return f"variable `{name}` moved from {a.offset} to {news[name].offset}"
    return None


def _key(index: int, name: str) -> str:
    """Name a member; an anonymous one by its number."""
    return name or f"<{index}>"


def _bits(offset: int) -> str:
    return f"bit {offset}" if offset % 8 else str(offset // 8)


def _describe(kind: BtfType) -> str:
    word = _KIND_NAMES.get(kind.kind, f"a type of kind {kind.kind}")
    if kind.kind == uapi.BTF_KIND_INT:
        sign = "signed" if kind.encoding & uapi.BTF_INT_SIGNED else "unsigned"
        word = "bool" if kind.encoding & uapi.BTF_INT_BOOL else f"{sign} integer"
    return f"{word} `{kind.name}`" if kind.name else word
