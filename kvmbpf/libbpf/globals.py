# SPDX-License-Identifier: GPL-2.0-or-later
"""Global variables of programs, read and written by name.

libbpf puts a program's globals into one-element array maps (``.data``,
``.bss``, ``.rodata``) whose BTF says what lies where. `Globals` finds a
variable there and reads or writes only its own bytes: through the map's memory,
shared with the running program, once it is loaded; in the initial image before.

Integers, enums, pointers and bools come as int and bool, each read or written
in one access; whatever else (arrays, structs, unions) as bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, Literal

from kvmbpf.errors import StateError
from kvmbpf.libbpf.btf import Btf, BtfVariable
from kvmbpf.uapi import bpf as uapi

if TYPE_CHECKING:
    from kvmbpf.libbpf.map import BpfMap

# native codes of memoryview.cast(): one load or store of that many bytes
Code = Literal["B", "H", "I", "Q"]
_CODES: Final[dict[int, Code]] = {1: "B", 2: "H", 4: "I", 8: "Q"}
Value = int | bool | bytes


class Globals:
    """The global variables in some maps.

    :param maps: those that are not data sections are passed over.
    :param subject: whose variables these are, for error messages.
    """

    def __init__(self, maps: Iterable[BpfMap], subject: str) -> None:
        self._subject = subject
        self._where: dict[str, tuple[BpfMap, Btf, BtfVariable]] = {}
        for data in maps:
            if data.section is None or data.btf is None:
                continue
            for variable in data.btf.variables(data.spec.value_type_id):
                self._where.setdefault(variable.name, (data, data.btf, variable))

    def __contains__(self, name: object) -> bool:
        return name in self._where

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)

    def _find(self, name: str) -> tuple[BpfMap, Btf, BtfVariable]:
        try:
            return self._where[name]
        except KeyError:
            names = ", ".join(sorted(self._where)) or "none"
            raise StateError(
                f"{self._subject}: no global variable `{name}`; there are: {names}"
            ) from None

    def __getitem__(self, name: str) -> Value:
        """Read a variable.

        :raise StateError: when there is none of that name, or the map is closed.
        """
        data, btf, variable = self._find(name)
        kind = btf.get(btf.resolve(variable.type_id))
        code = _code(kind.kind, variable.size)
        with data.memory(write=False) as memory, memory[_span(variable)] as place:
            if code is None:
                return bytes(place)
            with place.cast(code) as cell:
                value: int = cell[0]
        if kind.encoding & uapi.BTF_INT_BOOL:
            return bool(value)
        if kind.encoding & uapi.BTF_INT_SIGNED and value >> (8 * variable.size - 1):
            value -= 1 << 8 * variable.size
        return value

    def __setitem__(self, name: str, value: Value) -> None:
        """Write a variable.

        :raise StateError: when there is none of that name, the value does not
            fit it, it is a constant of a loaded program, or the map is closed.
        """
        data, btf, variable = self._find(name)
        kind = btf.get(btf.resolve(variable.type_id))
        code = _code(kind.kind, variable.size)
        where = f"{self._subject}: global `{name}`"
        if code is None:
            raw = _check_bytes(where, variable.size, value)
        else:
            raw = _encode(where, variable.size, bool(kind.encoding & uapi.BTF_INT_SIGNED), value)
        with data.memory(write=True) as memory, memory[_span(variable)] as place:
            if code is None:
                place[:] = raw
                return
            with place.cast(code) as cell, memoryview(raw).cast(code) as source:
                cell[0] = source[0]

    def as_dict(self) -> dict[str, Value]:
        """Return every variable with its present value."""
        return {name: self[name] for name in self}


def _span(variable: BtfVariable) -> slice:
    return slice(variable.offset, variable.offset + variable.size)


def _code(kind: int, size: int) -> Code | None:
    """Return the memoryview code of a type that is one integer, or None."""
    integers = (
        uapi.BTF_KIND_INT,
        uapi.BTF_KIND_ENUM,
        uapi.BTF_KIND_ENUM64,
        uapi.BTF_KIND_PTR,
    )
    return _CODES.get(size) if kind in integers else None


def _check_bytes(where: str, size: int, value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise StateError(f"{where} takes {size} bytes, not {type(value).__name__}")
    if len(value) != size:
        raise StateError(f"{where} takes {size} bytes, not {len(value)}")
    return value


def _encode(where: str, size: int, signed: bool, value: Value) -> bytes:
    if isinstance(value, bytes):
        raise StateError(f"{where} takes an integer, not bytes")
    try:
        return int(value).to_bytes(size, sys.byteorder, signed=signed)
    except OverflowError:
        sign = "signed" if signed else "unsigned"
        raise StateError(f"{where} is {sign}, {8 * size} bits: {value} does not fit") from None
