# SPDX-License-Identifier: GPL-2.0-or-later
"""C types, between bytes and what a test writes down.

Integers, enums, pointers and bools are int and bool; an array of bytes is
bytes, any other array a list; a struct or union is a dictionary of its members.
Nothing is cut off: a value that does not fit is an error.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, TypeAlias

from kvmbpf.errors import StateError

Value: TypeAlias = Any  # int | bool | bytes | list[Value] | dict[str, Value]


@dataclass(frozen=True, slots=True)
class CType(ABC):
    """A type with a size.

    :param size: in bytes.
    """

    size: int

    @abstractmethod
    def decode(self, raw: bytes) -> Value:
        """Return the value of `size` bytes."""

    @abstractmethod
    def encode(self, value: Value, where: str, old: bytes) -> bytes:
        """Return the bytes of a value.

        :param where: what is to have the value, for the error.
        :param old: the bytes that are there: what the value does not name stays.
        :raise StateError: when the value does not fit.
        """


@dataclass(frozen=True, slots=True)
class Integer(CType):
    """An integer, enum or pointer.

    :param signed: as C has it.
    :param boolean: C ``bool``.
    """

    signed: bool = False
    boolean: bool = False

    def decode(self, raw: bytes) -> Value:
        """Return an int or a bool."""
        value = int.from_bytes(raw, "little", signed=self.signed)
        return bool(value) if self.boolean else value

    def encode(self, value: Value, where: str, old: bytes) -> bytes:
        """Take an int or a bool."""
        if not isinstance(value, int):
            raise StateError(f"{where} takes an integer, not {type(value).__name__}")
        try:
            return value.to_bytes(self.size, "little", signed=self.signed)
        except OverflowError:
            sign = "signed" if self.signed else "unsigned"
            raise StateError(
                f"{where} is {sign}, {8 * self.size} bits: {value} does not fit"
            ) from None


@dataclass(frozen=True, slots=True)
class Opaque(CType):
    """Bytes: an array of one-byte integers, or what has no better form."""

    def decode(self, raw: bytes) -> Value:
        """Return the bytes."""
        return raw

    def encode(self, value: Value, where: str, old: bytes) -> bytes:
        """Take as many bytes."""
        if not isinstance(value, bytes | bytearray):
            raise StateError(f"{where} takes {self.size} bytes, not {type(value).__name__}")
        if len(value) != self.size:
            raise StateError(f"{where} takes {self.size} bytes, not {len(value)}")
        return bytes(value)


@dataclass(frozen=True, slots=True)
class Array(CType):
    """An array, but for one of bytes.

    :param element: its elements' type.
    """

    element: CType

    def decode(self, raw: bytes) -> Value:
        """Return a list."""
        step = self.element.size
        return [self.element.decode(raw[at : at + step]) for at in range(0, self.size, step)]

    def encode(self, value: Value, where: str, old: bytes) -> bytes:
        """Take a list of as many elements."""
        step = self.element.size
        count = self.size // step
        if not isinstance(value, list | tuple):
            raise StateError(f"{where} takes a list of {count}, not {type(value).__name__}")
        if len(value) != count:
            raise StateError(f"{where} takes a list of {count}, not of {len(value)}")
        parts = [
            self.element.encode(item, f"{where}[{index}]", old[index * step : (index + 1) * step])
            for index, item in enumerate(value)
        ]
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a struct or union.

    :param bit_offset: from the start, in bits.
    :param bits: its width, in bits; a multiple of 8 unless it is a bit field.
    """

    name: str
    type: CType
    bit_offset: int
    bits: int

    @property
    def plain(self) -> bool:
        """Tell whether it is no bit field."""
        return self.bits == 8 * self.type.size and self.bit_offset % 8 == 0

    def decode(self, raw: bytes) -> Value:
        """Return its value out of the bytes of the whole."""
        if self.plain:
            start = self.bit_offset // 8
            return self.type.decode(raw[start : start + self.type.size])
        value = int.from_bytes(raw, "little") >> self.bit_offset & ((1 << self.bits) - 1)
        if isinstance(self.type, Integer) and self.type.signed and value >> (self.bits - 1):
            value -= 1 << self.bits
        return value

    def encode(self, value: Value, where: str, whole: bytearray) -> None:
        """Put its value into the bytes of the whole."""
        start = self.bit_offset // 8
        if self.plain:
            old = bytes(whole[start : start + self.type.size])
            whole[start : start + self.type.size] = self.type.encode(value, where, old)
            return
        mask = (1 << self.bits) - 1
        low = -(1 << (self.bits - 1)) if getattr(self.type, "signed", False) else 0
        if not isinstance(value, int) or not low <= value <= mask:
            raise StateError(f"{where} has {self.bits} bits: {value} does not fit")
        number = int.from_bytes(whole, "little") & ~(mask << self.bit_offset)
        number |= (value & mask) << self.bit_offset
        whole[:] = number.to_bytes(len(whole), "little")


@dataclass(frozen=True, slots=True)
class Struct(CType):
    """A struct or union.

    :param members: those with a name; what is in an anonymous one is among them.
    """

    members: tuple[Member, ...]

    def decode(self, raw: bytes) -> Value:
        """Return a dictionary by the members' names."""
        return {member.name: member.decode(raw) for member in self.members}

    def encode(self, value: Value, where: str, old: bytes) -> bytes:
        """Take a dictionary; members that it lacks stay as they are."""
        if not isinstance(value, dict):
            raise StateError(f"{where} takes a dictionary, not {type(value).__name__}")
        by_name = {member.name: member for member in self.members}
        whole = bytearray(old)
        for name, item in value.items():
            if name not in by_name:
                names = ", ".join(by_name) or "none"
                raise StateError(f"{where} has no member `{name}`; there are: {names}")
            by_name[name].encode(item, f"{where}.{name}", whole)
        return bytes(whole)


@dataclass(frozen=True, slots=True)
class Variable:
    """A global variable of the object for BPF.

    :param section: as ``.bss``.
    :param offset: in the section, in bytes.
    :param type: its type.
    """

    name: str
    section: str
    offset: int
    type: CType


@dataclass(frozen=True, slots=True)
class MapDefinition:
    """A map as the source declares it; C ``__u32`` each, sizes in bytes.

    :param type: ``BPF_MAP_TYPE_*``.
    :param key: its keys' type; of size 0 where it has none.
    :param value: its values' type; of size 0 where it has none.
    """

    name: str
    type: int
    max_entries: int
    key: CType
    value: CType
