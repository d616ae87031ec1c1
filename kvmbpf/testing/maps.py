# SPDX-License-Identifier: GPL-2.0-or-later
"""Maps of a natively compiled device: the same answers as the kernel's maps give.

Keys and values are bytes here. A value that the device has looked up stays where
it is until the access ends, also when its element goes, as RCU has it.

Source: kernel/bpf/{arraymap,hashtab,queue_stack_maps,ringbuf}.c, v6.12.
"""

from __future__ import annotations

import ctypes
import errno
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Final

from kvmbpf.testing.types import MapDefinition

HASH: Final = 1
ARRAY: Final = 2
PERCPU_HASH: Final = 5
PERCPU_ARRAY: Final = 6
LRU_HASH: Final = 9
LRU_PERCPU_HASH: Final = 10
QUEUE: Final = 22
STACK: Final = 23
RINGBUF: Final = 27

_NOEXIST, _EXIST, _LOCK = 1, 2, 4
_RECORD_HEAD = 8

Cell = Any  # a ctypes array of char: memory that the device may point into


def _cell(content: bytes) -> Cell:
    return (ctypes.c_char * max(len(content), 1)).from_buffer_copy(content or b"\0")


class NativeMap(ABC):
    """A map.

    :param definition: what it is.
    """

    def __init__(self, definition: MapDefinition) -> None:
        self.definition = definition
        self.gone: list[Cell] = []  # what the device may still point to

    @abstractmethod
    def lookup(self, key: bytes) -> Cell | None:
        """Return the memory of a key's value, or None."""

    @abstractmethod
    def update(self, key: bytes, value: bytes, flags: int) -> int:
        """Set a key's value; return 0 or a negative error number."""

    @abstractmethod
    def delete(self, key: bytes) -> int:
        """Delete a key; return 0 or a negative error number."""

    @abstractmethod
    def all_keys(self) -> Iterator[bytes]:
        """Return all keys that are there."""

    def peek(self, key: bytes) -> Cell | None:
        """Return the memory of a key's value, and leave the map as it is."""
        return self.lookup(key)

    def take(self, remove: bool) -> bytes | None:
        """Return the next value of a queue or stack, or None."""
        return None


class ArrayMap(NativeMap):
    """BPF_MAP_TYPE_ARRAY, and the per-CPU one of one CPU: each element is always there."""

    def __init__(self, definition: MapDefinition) -> None:
        super().__init__(definition)
        empty = bytes(definition.value.size)
        self._cells = [_cell(empty) for _ in range(definition.max_entries)]

    def lookup(self, key: bytes) -> Cell | None:
        """Return an element."""
        index = int.from_bytes(key, "little")
        return self._cells[index] if index < len(self._cells) else None

    def update(self, key: bytes, value: bytes, flags: int) -> int:
        """Set an element in place."""
        if flags & ~_LOCK > _EXIST:
            return -errno.EINVAL
        cell = self.lookup(key)
        if cell is None:
            return -errno.E2BIG
        if flags & _NOEXIST:
            return -errno.EEXIST
        ctypes.memmove(cell, value, len(value))
        return 0

    def delete(self, key: bytes) -> int:
        """Refuse."""
        return -errno.EINVAL

    def all_keys(self) -> Iterator[bytes]:
        """Return the indices."""
        return (index.to_bytes(4, "little") for index in range(len(self._cells)))


class HashMap(NativeMap):
    """BPF_MAP_TYPE_HASH, and its kin; an LRU one lets the oldest element go when it is full."""

    def __init__(self, definition: MapDefinition, *, lru: bool = False) -> None:
        super().__init__(definition)
        self._lru = lru
        self._cells: dict[bytes, Cell] = {}

    def lookup(self, key: bytes) -> Cell | None:
        """Return a key's value."""
        cell = self._cells.get(key)
        if cell is not None and self._lru:
            self._cells[key] = self._cells.pop(key)
        return cell

    def peek(self, key: bytes) -> Cell | None:
        """Return a key's value without using it."""
        return self._cells.get(key)

    def update(self, key: bytes, value: bytes, flags: int) -> int:
        """Set a key's value: a new element in place of the old."""
        if flags & ~_LOCK > _EXIST:
            return -errno.EINVAL
        old = self._cells.get(key)
        if old is not None and flags & _NOEXIST:
            return -errno.EEXIST
        if old is None and flags & _EXIST:
            return -errno.ENOENT
        if old is None and len(self._cells) >= self.definition.max_entries:
            if not self._lru:
                return -errno.E2BIG
            self.delete(next(iter(self._cells)))
        if old is not None:
            self.gone.append(self._cells.pop(key))
        self._cells[key] = _cell(value)
        return 0

    def delete(self, key: bytes) -> int:
        """Delete a key."""
        cell = self._cells.pop(key, None)
        if cell is None:
            return -errno.ENOENT
        self.gone.append(cell)
        return 0

    def all_keys(self) -> Iterator[bytes]:
        """Return the keys, in the order of their making."""
        return iter(tuple(self._cells))


class QueueMap(NativeMap):
    """BPF_MAP_TYPE_QUEUE and BPF_MAP_TYPE_STACK."""

    def __init__(self, definition: MapDefinition, *, stack: bool = False) -> None:
        super().__init__(definition)
        self._stack = stack
        self.values: list[bytes] = []

    def lookup(self, key: bytes) -> Cell | None:
        """Find nothing: a queue has no keys."""
        return None

    def update(self, key: bytes, value: bytes, flags: int) -> int:
        """Push a value; BPF_EXIST lets the oldest go when it is full."""
        if flags not in (0, _EXIST):
            return -errno.EINVAL
        if len(self.values) >= self.definition.max_entries:
            if not flags:
                return -errno.E2BIG
            del self.values[0]
        self.values.append(value)
        return 0

    def delete(self, key: bytes) -> int:
        """Refuse: a queue has no keys."""
        return -errno.EINVAL

    def all_keys(self) -> Iterator[bytes]:
        """Return nothing: a queue has no keys."""
        return iter(())

    def take(self, remove: bool) -> bytes | None:
        """Return the first value of a queue, the last of a stack."""
        if not self.values:
            return None
        index = -1 if self._stack else 0
        return self.values.pop(index) if remove else self.values[index]


class RingMap(NativeMap):
    """BPF_MAP_TYPE_RINGBUF: `records` are those that were submitted."""

    def __init__(self, definition: MapDefinition) -> None:
        super().__init__(definition)
        self.records: list[bytes] = []
        self.reserved: dict[int, Cell] = {}

    def used(self) -> int:
        """Return how many bytes are in use; what was submitted is read at once."""
        return sum(_room(len(cell)) for cell in self.reserved.values())

    def reserve(self, size: int) -> Cell | None:
        """Return memory for a record, or None when the ring is full."""
        if size == 0 or self.used() + _room(size) > self.definition.max_entries:
            return None
        cell = _cell(bytes(size))
        self.reserved[ctypes.addressof(cell)] = cell
        return cell

    def commit(self, address: int, discard: bool) -> bool:
        """Submit or discard a record; tell whether it was one of this ring's."""
        cell = self.reserved.pop(address, None)
        if cell is None:
            return False
        self.gone.append(cell)
        if not discard:
            self.records.append(bytes(cell))
        return True

    def lookup(self, key: bytes) -> Cell | None:
        """Find nothing: a ring has no keys."""
        return None

    def update(self, key: bytes, value: bytes, flags: int) -> int:
        """Refuse: a ring has no keys."""
        return -errno.EOPNOTSUPP

    def delete(self, key: bytes) -> int:
        """Refuse: a ring has no keys."""
        return -errno.EOPNOTSUPP

    def all_keys(self) -> Iterator[bytes]:
        """Return nothing: a ring has no keys."""
        return iter(())


def _room(size: int) -> int:
    return (size + _RECORD_HEAD + 7) // 8 * 8


def make_map(definition: MapDefinition) -> NativeMap | None:
    """Make a map, or return None where its type is not known here."""
    kind = definition.type
    if kind in (ARRAY, PERCPU_ARRAY):
        return ArrayMap(definition)
    if kind in (HASH, PERCPU_HASH, LRU_HASH, LRU_PERCPU_HASH):
        return HashMap(definition, lru=kind in (LRU_HASH, LRU_PERCPU_HASH))
    if kind in (QUEUE, STACK):
        return QueueMap(definition, stack=kind == STACK)
    return RingMap(definition) if kind == RINGBUF else None
