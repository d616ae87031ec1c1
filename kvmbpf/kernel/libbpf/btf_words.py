# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the types of a set are read from: 32-bit words and strings, not decoded.

A call of libbpf costs more than to decode what it gives. So a set of some hundred
types, as an object's, is copied once and read from the copy; of the kernel's own
hundred thousand only those that are asked for are fetched, one call each.

Source: Documentation/bpf/btf.rst and include/uapi/linux/btf.h, v6.12.
"""

from __future__ import annotations

import ctypes
import struct
from abc import ABC, abstractmethod

from kvmbpf.errors import BadFileError
from kvmbpf.kernel.libbpf.lib import libbpf
from kvmbpf.kernel.uapi import bpf as uapi

# Words of a type: name, info, size or type; then what the kind has, once and each time.
_HEAD = 3
_ONCE = {
    uapi.BTF_KIND_INT: 1,
    uapi.BTF_KIND_ARRAY: 3,
    uapi.BTF_KIND_VAR: 1,
    uapi.BTF_KIND_DECL_TAG: 1,
}
ENTRY_WORDS = {
    uapi.BTF_KIND_STRUCT: 3,
    uapi.BTF_KIND_UNION: 3,
    uapi.BTF_KIND_ENUM: 2,
    uapi.BTF_KIND_FUNC_PROTO: 2,
    uapi.BTF_KIND_DATASEC: 3,
    uapi.BTF_KIND_ENUM64: 3,
}
# By kind; info has five bits for it.
_FIXED = tuple(_HEAD + _ONCE.get(kind, 0) for kind in range(32))
_REPEATED = tuple(ENTRY_WORDS.get(kind, 0) for kind in range(32))
_MAGIC = 0xEB9F
_HEADER = struct.Struct("=HBBIIIII")
# A larger set is not copied.
_COPIED_AT_MOST = 256 << 10


class TypeWords(ABC):
    """The types of a set."""

    @abstractmethod
    def words(self, type_id: int) -> tuple[int, ...]:
        """Return the words of a type (C ``__u32`` each).

        :raise BadFileError: when there is no such type.
        """

    @abstractmethod
    def string(self, offset: int) -> str:
        """Return the string at a place of the set's strings."""


def type_words(handle: int) -> TypeWords:
    """Return where to read a set of types from.

    :param handle: its ``struct btf *``; it does not change any more, and lives as
        long as what is returned is used.
    """
    if libbpf().btf__type_cnt(handle) * _HEAD * 4 <= _COPIED_AT_MOST:
        copied = _copy(handle)
        if copied is not None:
            return copied
    return _Fetched(handle)


def _copy(handle: int) -> TypeWords | None:
    """Copy a set; None for one that goes on from another, or has what is not known here."""
    lib = libbpf()
    if lib.btf__base_btf(handle):
        return None
    size = ctypes.c_uint32()
    address: int | None = lib.btf__raw_data(handle, ctypes.byref(size))
    if address is None or not _HEADER.size <= size.value <= _COPIED_AT_MOST:
        return None
    raw = ctypes.string_at(address, size.value)
    magic, _, _, start, types_at, types_size, strings_at, strings_size = _HEADER.unpack_from(raw)
    if magic != _MAGIC:  # of the other byte order
        return None
    words = struct.unpack_from(f"={types_size // 4}I", raw, start + types_at)
    begin = start + strings_at
    starts = _starts(words)
    return _Copied(words, starts, raw[begin : begin + strings_size]) if starts else None


def _starts(words: tuple[int, ...]) -> list[int]:
    """Return where each type begins, and where the last one ends; void first, with no words.

    :return: empty when the types do not end with the words.
    """
    starts = [0, 0]
    place, end = 0, len(words) - _HEAD
    while place <= end:
        info = words[place + 1]
        kind = info >> 24 & 0x1F
        place += _FIXED[kind] + _REPEATED[kind] * (info & 0xFFFF)
        starts.append(place)
    return starts if place == len(words) else []


class _Copied(TypeWords):
    """A copy of a set.

    :param words: of all types.
    :param starts: as `_starts` gives them.
    :param strings: each ends with a NUL.
    """

    def __init__(self, words: tuple[int, ...], starts: list[int], strings: bytes) -> None:
        self._words = words
        self._starts = starts
        self._strings = strings

    def words(self, type_id: int) -> tuple[int, ...]:
        if type_id == 0:
            return _VOID
        if not 0 < type_id < len(self._starts) - 1:
            raise BadFileError("BTF", f"no type {type_id}")
        return self._words[self._starts[type_id] : self._starts[type_id + 1]]

    def string(self, offset: int) -> str:
        end = self._strings.find(b"\0", offset)
        return self._strings[offset:end].decode(errors="replace") if end > offset else ""


_VOID = (0, 0, 0)


class _Fetched(TypeWords):
    """A set in libbpf's memory.

    :param handle: its ``struct btf *``.
    """

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def words(self, type_id: int) -> tuple[int, ...]:
        address: int | None = libbpf().btf__type_by_id(self._handle, type_id)
        if address is None:
            raise BadFileError("BTF", f"no type {type_id}")
        (info,) = struct.unpack("=I", ctypes.string_at(address + 4, 4))
        kind = info >> 24 & 0x1F
        count = _FIXED[kind] + _REPEATED[kind] * (info & 0xFFFF)
        return struct.unpack(f"={count}I", ctypes.string_at(address, 4 * count))

    def string(self, offset: int) -> str:
        name: bytes | None = libbpf().btf__name_by_offset(self._handle, offset)
        return (name or b"").decode(errors="replace")
