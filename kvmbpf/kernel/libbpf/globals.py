# SPDX-License-Identifier: GPL-2.0-or-later
"""Global variables of programs, read and written by name.

libbpf puts a program's globals into one-element array maps (``.data``,
``.bss``, ``.rodata``) whose BTF says what lies where. `Globals` finds a
variable there and reads or writes only its own bytes: through the map's memory,
shared with the running program, once it is loaded; in the initial image before.

Values are those of `kvmbpf.kernel.libbpf.values`. Integers, enums, pointers and bools are
read and written in one access each; whatever else as it comes, member by member,
so that a program that runs meanwhile may see half of it, or be seen so. Of a section that
cannot be mapped (`kvmbpf.kernel.libbpf.section_memory`) that holds for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal

from kvmbpf.errors import StateError
from kvmbpf.kernel.libbpf.btf import Btf, BtfVariable
from kvmbpf.kernel.libbpf.plain_map import PlainMap
from kvmbpf.kernel.libbpf.values import Codec, Given, Scalar, Value, codec

# native codes of memoryview.cast(): one load or store of that many bytes
Code = Literal["B", "H", "I", "Q"]
_CODES: Final[dict[int, Code]] = {1: "B", 2: "H", 4: "I", 8: "Q"}


class Globals:
    """The global variables in some maps.

    :param maps: those that are not data sections are passed over.
    :param subject: whose variables these are, for error messages.
    """

    def __init__(self, maps: Iterable[PlainMap], subject: str) -> None:
        self._subject = subject
        self._where: dict[str, tuple[PlainMap, Btf, BtfVariable]] = {}
        for data in maps:
            if data.btf is None:
                continue
            for variable in data.variables:
                self._where.setdefault(variable.name, (data, data.btf, variable))

    def __contains__(self, name: object) -> bool:
        return name in self._where

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)

    def _find(self, name: str) -> tuple[PlainMap, Btf, BtfVariable]:
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
        compiled = codec(btf, variable.type_id)
        code = _code(compiled)
        with data.memory(write=False) as memory, memory[_span(variable)] as place:
            if code is None:
                return compiled.decode(bytes(place))
            with place.cast(code) as cell:
                number: int = cell[0]
        return compiled.decode(number.to_bytes(compiled.size, "little"))

    def __setitem__(self, name: str, value: Given) -> None:
        """Write a variable.

        :raise StateError: when there is none of that name, the value does not
            fit it, it is a constant of a loaded program, or the map is closed.
        """
        data, btf, variable = self._find(name)
        compiled = codec(btf, variable.type_id)
        code = _code(compiled)
        raw = compiled.encode(f"{self._subject}: global `{name}`", value)
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


def _code(compiled: Codec) -> Code | None:
    """Return the memoryview code of a type that is one number, or None."""
    return _CODES.get(compiled.size) if isinstance(compiled, Scalar) else None
