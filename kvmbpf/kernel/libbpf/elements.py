# SPDX-License-Identifier: GPL-2.0-or-later
"""A map's elements by key, as Python values of the types that its BTF has.

    entries = obj.map("entries").elements
    entries[5] = {"first": 1, "second": 2}
    for key, entry in entries.items():
        print(key, entry["first"])
    del entries[5]

A key or value without a type is bytes; the key of an array is an integer all the
same. The value of a per-CPU map is a list, of as many values as the
machine may have CPUs. Values are written whole (`kvmbpf.kernel.libbpf.values`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kvmbpf.errors import StateError
from kvmbpf.kernel.libbpf.plain_map import PlainMap
from kvmbpf.kernel.libbpf.values import Codec, Given, Raw, Scalar, Value, codec
from kvmbpf.kernel.uapi import bpf as uapi

_ARRAYS = (uapi.BPF_MAP_TYPE_ARRAY, uapi.BPF_MAP_TYPE_PERCPU_ARRAY)


class Elements:
    """The elements of a map that has keys.

    :param data: the map.
    :raise StateError: when it has no keys, as a ring buffer or queue.
    :raise KernelCallError: when the kernel does not give out its types.
    """

    def __init__(self, data: PlainMap) -> None:
        spec = data.spec
        if not spec.key_size:
            raise StateError(f"map {data.name} has no keys")
        self._map = data
        self._name = f"map {data.name}"
        self._value = self._codec(spec.value_type_id, spec.value_size)
        if spec.type in _ARRAYS and not spec.key_type_id:
            self._key: Codec = Scalar(spec.key_size)
        else:
            self._key = self._codec(spec.key_type_id, spec.key_size)

    def _codec(self, type_id: int, size: int) -> Codec:
        btf = self._map.btf if type_id else None
        return Raw(size) if btf is None else codec(btf, type_id)

    def get(self, key: Given) -> Value | None:
        """Return a key's value, or None where the map has none.

        :raise StateError: when the key does not fit, or the map is closed.
        :raise KernelCallError: when the kernel refuses.
        """
        raw = self._map.lookup(self._raw_key(key))
        return None if raw is None else self._present(raw)

    def __getitem__(self, key: Given) -> Value:
        """Return a key's value.

        :raise StateError: when there is none, the key does not fit, or the map
            is closed.
        """
        found = self.get(key)
        if found is None:
            raise StateError(f"{self._name} has no element {key!r}")
        return found

    def __setitem__(self, key: Given, value: Given) -> None:
        """Set a key's value, whether there is one or not.

        :raise StateError: when key or value do not fit, or the map is closed.
        :raise KernelCallError: when the kernel refuses, as with E2BIG when
            the map is full.
        """
        self._map.update(self._raw_key(key), self._raw_value(value))

    def __delitem__(self, key: Given) -> None:
        """Remove a key.

        :raise StateError: when there is none, it does not fit, or the map is closed.
        :raise KernelCallError: when the kernel refuses: EINVAL for an array.
        """
        if not self._map.delete(self._raw_key(key)):
            raise StateError(f"{self._name} has no element {key!r}")

    def __contains__(self, key: Given) -> bool:
        return self._map.lookup(self._raw_key(key)) is not None

    def __iter__(self) -> Iterator[Value]:
        """Give the keys; what programs add or remove meanwhile may be missed."""
        for raw in self._map.raw_keys():
            yield self._key.decode(raw)

    def items(self) -> Iterator[tuple[Value, Value]]:
        """Give keys with their values; those that are gone by then are left out."""
        for raw in self._map.raw_keys():
            value = self._map.lookup(raw)
            if value is not None:
                yield self._key.decode(raw), self._present(value)

    def _raw_key(self, key: Given) -> bytes:
        return self._key.encode(f"{self._name}: the key", key)

    def _present(self, raw: bytes) -> Value:
        if not self._map.per_cpu:
            return self._value.decode(raw)
        return [self._value.decode(raw[at : at + self._value.size]) for at in self._places(raw)]

    def _raw_value(self, value: Given) -> bytes:
        where = f"{self._name}: the value"
        if not self._map.per_cpu:
            return self._value.encode(where, value)
        size = self._map.transfer_size()
        cpus = len(self._places(bytes(size)))
        if isinstance(value, str | bytes) or not isinstance(value, Sequence) or len(value) != cpus:
            raise StateError(f"{where} is a list of {cpus}, one for each possible CPU")
        step = size // cpus
        parts = (self._value.encode(f"{where}[{i}]", one) for i, one in enumerate(value))
        return b"".join(part.ljust(step, b"\0") for part in parts)

    def _places(self, raw: bytes) -> range:
        return range(0, len(raw), (self._map.value_size + 7) // 8 * 8)
