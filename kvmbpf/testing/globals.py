# SPDX-License-Identifier: GPL-2.0-or-later
"""A device's global variables and maps, by name and in their types."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from typing import Protocol

from kvmbpf.errors import StateError
from kvmbpf.testing.maps import NativeMap, QueueMap, RingMap
from kvmbpf.testing.types import Value, Variable


class Place(Protocol):
    """Where the variables are."""

    def load(self, variable: Variable) -> bytes:
        """Read a variable's bytes."""

    def store(self, variable: Variable, content: bytes) -> None:
        """Write a variable's bytes; a constant is refused."""


class Globals(Mapping[str, Value]):
    """The global variables.

    :param variables: by name.
    :param place: where they are.
    """

    def __init__(self, variables: dict[str, Variable], place: Place) -> None:
        self._variables = variables
        self._place = place

    def _find(self, name: str) -> Variable:
        try:
            return self._variables[name]
        except KeyError:
            names = ", ".join(sorted(self._variables)) or "none"
            raise StateError(f"no global variable `{name}`; there are: {names}") from None

    def __getitem__(self, name: str) -> Value:
        """Read a variable.

        :raise StateError: when there is none of that name, or the device is closed.
        """
        variable = self._find(name)
        return variable.type.decode(self._place.load(variable))

    def __setitem__(self, name: str, value: Value) -> None:
        """Write a variable.

        :raise StateError: when there is none of that name, it is a constant, the
            value does not fit it, or the device is closed.
        """
        variable = self._find(name)
        old = self._place.load(variable)
        content = variable.type.encode(value, f"global `{name}`", old)
        self._place.store(variable, content)

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


class MapView:
    """A map of a natively compiled device, as a dictionary of keys and values in their types.

    :param native: the map.
    """

    def __init__(self, native: NativeMap) -> None:
        self._map = native

    @property
    def name(self) -> str:
        """The map's name."""
        return self._map.definition.name

    def _key(self, key: Value) -> bytes:
        kind = self._map.definition.key
        return kind.encode(key, f"a key of map `{self.name}`", bytes(kind.size))

    def __getitem__(self, key: Value) -> Value:
        """Return a key's value.

        :raise KeyError: when it is not there.
        :raise StateError: when the key does not fit.
        """
        cell = self._map.peek(self._key(key))
        if cell is None:
            raise KeyError(key)
        kind = self._map.definition.value
        return kind.decode(bytes(cell)[: kind.size])

    def __setitem__(self, key: Value, value: Value) -> None:
        """Set a key's value.

        :raise StateError: when key or value do not fit, or the map is full.
        """
        raw, kind = self._key(key), self._map.definition.value
        cell = self._map.peek(raw)
        old = bytes(kind.size) if cell is None else bytes(cell)[: kind.size]
        where = f"map `{self.name}`[{key!r}]"
        result = self._map.update(raw, kind.encode(value, where, old), 0)
        if result:
            raise StateError(f"{where} cannot be set: {errno.errorcode.get(-result, result)}")

    def __delitem__(self, key: Value) -> None:
        """Delete a key.

        :raise KeyError: when it is not there.
        :raise StateError: when the map lets none go.
        """
        result = self._map.delete(self._key(key))
        if result == -errno.ENOENT:
            raise KeyError(key)
        if result:
            raise StateError(f"map `{self.name}`: its elements cannot be deleted")

    def __iter__(self) -> Iterator[Value]:
        """Return the keys, in the order of their making."""
        return (self._map.definition.key.decode(key) for key in self._map.all_keys())

    def __contains__(self, key: Value) -> bool:
        return self._map.peek(self._key(key)) is not None

    def __len__(self) -> int:
        return sum(1 for _ in self._map.all_keys())

    @property
    def values(self) -> list[Value]:
        """What a queue or stack holds, oldest first; what a ring buffer was given, as bytes."""
        if isinstance(self._map, QueueMap):
            return [self._map.definition.value.decode(item) for item in self._map.values]
        if isinstance(self._map, RingMap):
            return list(self._map.records)
        return [self[key] for key in self]
