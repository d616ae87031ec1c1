# SPDX-License-Identifier: GPL-2.0-or-later
"""Python values for what lies in maps and variables, as its BTF type says.

    C                                   Python
    integers, pointers                  int
    bool                                bool
    enums                               Enumerator: an int with its name
    float, double                       float
    arrays of char or of __u8           bytes
    other arrays                        list
    structs, unions                     dict, by member
    struct bpf_timer and its like       left out: they are the kernel's

`codec()` compiles a type once; a `Codec` then turns bytes into a value and back.
What is encoded need not be whole, as in C's initialisers: members, elements and
characters that are not given are zero. A str does for characters, a
name for an enumerator. Members of anonymous structs and unions are the
outer one's, as in C. Members of a union share bytes: decoding gives each, and
encoding takes any that agree.

Little-endian hosts only, as the kernels that KVM and this project run on.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from kvmbpf.errors import BadFileError, StateError
from kvmbpf.kernel.libbpf.btf import Btf, BtfMember, BtfType
from kvmbpf.kernel.uapi import bpf as uapi

# One of the table above: which one depends on the object, as with json.loads().
Value: TypeAlias = Any
Given: TypeAlias = "int | float | bytes | str | Sequence[Given] | Mapping[str, Given]"

_DEEPEST = 32  # as libbpf resolves types
_FLOATS = {4: "=f", 8: "=d"}
# Members of these types are the kernel's: it neither copies them out nor takes them in.
KERNEL_OWNED = frozenset(
    f"bpf_{name}"
    for name in (
        *("spin_lock", "res_spin_lock", "timer", "wq", "task_work", "refcount"),
        *("list_head", "list_node", "rb_root", "rb_node"),
    )
)


class Enumerator(int):
    """A value of an enum; `name` is None where the enum has no name for it."""

    name: str | None

    def __new__(cls, value: int, name: str | None) -> Enumerator:
        """Make one of a number and its name."""
        found = super().__new__(cls, value)
        found.name = name
        return found

    def __repr__(self) -> str:
        return f"{self.name} ({int(self)})" if self.name else str(int(self))


class Codec(ABC):
    """Bytes to a value and back, for one type.

    :param size: of the type, in bytes.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    @abstractmethod
    def decode(self, raw: bytes) -> Value:
        """Return the value of `size` bytes."""

    @abstractmethod
    def encode(self, where: str, value: Given) -> bytes:
        """Return a value's bytes.

        :param where: what is written, for the error.
        :raise StateError: when the value is not one of this type.
        """


class Scalar(Codec):
    """One number, of whole bytes or, as a bit-field, of fewer bits.

    :param bits: of the number; 0 for all of `size`.
    """

    def __init__(self, size: int, *, signed: bool = False, bits: int = 0) -> None:
        super().__init__(size)
        self.signed = signed
        self.bits = bits or 8 * size

    def decode(self, raw: bytes) -> Value:
        """Return the number."""
        number = int.from_bytes(raw, "little") & (1 << self.bits) - 1
        if self.signed and number >> (self.bits - 1):
            number -= 1 << self.bits
        return self.present(number)

    def encode(self, where: str, value: Given) -> bytes:
        """Return the number's bytes."""
        number = self.number(where, value)
        low, high = self.range()
        if not low <= number < high:
            sign = "signed" if self.signed else "unsigned"
            raise StateError(f"{where} is {sign}, {self.bits} bits: {number} does not fit")
        return (number & (1 << self.bits) - 1).to_bytes(self.size, "little")

    def range(self) -> tuple[int, int]:
        """Return the lowest number, and the first that is too high."""
        return (-1 << self.bits - 1, 1 << self.bits - 1) if self.signed else (0, 1 << self.bits)

    def present(self, number: int) -> Value:
        """Return what a number means."""
        return number

    def number(self, where: str, value: Given) -> int:
        """Return the number that a value stands for."""
        if not isinstance(value, int):
            raise StateError(f"{where} takes an integer, not {type(value).__name__}")
        return int(value)


class Boolean(Scalar):
    """A bool."""

    def present(self, number: int) -> Value:
        """Return whether it is not 0."""
        return bool(number)


class Enumeration(Scalar):
    """An enum: a number, or the name of one.

    :param names: of its enumerators.
    """

    def __init__(self, size: int, names: Mapping[str, int], *, signed: bool, bits: int) -> None:
        super().__init__(size, signed=signed, bits=bits)
        self._values = dict(names)
        self._names: dict[int, str] = {}
        for name, value in names.items():
            self._names.setdefault(value, name)

    def range(self) -> tuple[int, int]:
        """Return the range of either sign: clang before 15 does not say which."""
        return -1 << self.bits - 1, 1 << self.bits

    def present(self, number: int) -> Value:
        """Return the enumerator."""
        return Enumerator(number, self._names.get(number))

    def number(self, where: str, value: Given) -> int:
        """Return the number of an enumerator's name, or of a number itself."""
        if not isinstance(value, str):
            return super().number(where, value)
        if value not in self._values:
            raise StateError(f"{where} has no `{value}`; there are: {', '.join(self._values)}")
        return self._values[value]


class Floating(Codec):
    """A float or double."""

    def decode(self, raw: bytes) -> Value:
        """Return the number."""
        return float(struct.unpack(_FLOATS[self.size], raw)[0])

    def encode(self, where: str, value: Given) -> bytes:
        """Return the number's bytes."""
        if not isinstance(value, int | float):
            raise StateError(f"{where} takes a number, not {type(value).__name__}")
        return struct.pack(_FLOATS[self.size], value)


class Raw(Codec):
    """Bytes as they are; with `text`, of an array of characters.

    :param text: a str will do, and fewer of them.
    """

    def __init__(self, size: int, *, text: bool = False) -> None:
        super().__init__(size)
        self._text = text

    def decode(self, raw: bytes) -> Value:
        """Return the bytes."""
        return raw

    def encode(self, where: str, value: Given) -> bytes:
        """Return the bytes, filled up with NULs where it is text."""
        if self._text and isinstance(value, str):
            value = value.encode()
            if len(value) > self.size:
                raise StateError(f"{where} takes {self.size} bytes, not {len(value)}")
            return value.ljust(self.size, b"\0")
        if not isinstance(value, bytes | bytearray | memoryview):
            raise StateError(f"{where} takes {self.size} bytes, not {type(value).__name__}")
        if len(value) != self.size:
            raise StateError(f"{where} takes {self.size} bytes, not {len(value)}")
        return bytes(value)


class Array(Codec):
    """An array, as a list.

    :param element: of one of its elements.
    :param count: how many.
    """

    def __init__(self, element: Codec, count: int) -> None:
        super().__init__(element.size * count)
        self._element = element
        self._count = count

    def decode(self, raw: bytes) -> Value:
        """Return the elements."""
        step = self._element.size
        return [self._element.decode(raw[i * step : (i + 1) * step]) for i in range(self._count)]

    def encode(self, where: str, value: Given) -> bytes:
        """Return the elements' bytes; those not given are zero."""
        if isinstance(value, bytes | str) or not isinstance(value, Sequence):
            raise StateError(f"{where} takes a list, not {type(value).__name__}")
        if len(value) > self._count:
            raise StateError(f"{where} has {self._count} elements, not {len(value)}")
        raw = b"".join(self._element.encode(f"{where}[{i}]", one) for i, one in enumerate(value))
        return raw.ljust(self.size, b"\0")


@dataclass(frozen=True)
class Field:
    """A member, or an anonymous member's member.

    :param offset: in the outermost, in bits.
    :param bits: its size, in bits.
    """

    codec: Codec
    offset: int
    bits: int


class Record(Codec):
    """A struct or union, as a dict.

    :param fields: by name, those that are not the kernel's.
    :param name: as ``struct entry``, for errors.
    :param owned: names of members that are the kernel's.
    """

    def __init__(
        self, size: int, name: str, fields: Mapping[str, Field], owned: frozenset[str]
    ) -> None:
        super().__init__(size)
        self.name = name
        self.fields = dict(fields)
        self._owned = owned

    def decode(self, raw: bytes) -> Value:
        """Return the members by name."""
        number = int.from_bytes(raw, "little")
        found: dict[str, Value] = {}
        for name, field in self.fields.items():
            part = number >> field.offset & (1 << field.bits) - 1
            found[name] = field.codec.decode(part.to_bytes(field.codec.size, "little"))
        return found

    def encode(self, where: str, value: Given) -> bytes:
        """Return the bytes; members not given are zero."""
        if not isinstance(value, Mapping):
            raise StateError(f"{where} takes a dict, not {type(value).__name__}")
        number = written = 0
        for name, given in value.items():
            field = self._field(where, name)
            part = int.from_bytes(field.codec.encode(f"{where}.{name}", given), "little")
            mask = (1 << field.bits) - 1 << field.offset
            part <<= field.offset
            if (number ^ part) & mask & written:
                raise StateError(f"{where}.{name} shares bytes with another member: give one only")
            number |= part
            written |= mask
        return number.to_bytes(self.size, "little")

    def _field(self, where: str, name: str) -> Field:
        if name in self._owned:
            raise StateError(f"{where}.{name} is the kernel's: leave it out")
        if name not in self.fields:
            names = ", ".join(self.fields) or "none"
            raise StateError(f"{where}: {self.name} has no member `{name}`; it has: {names}")
        return self.fields[name]


def codec(btf: Btf, type_id: int) -> Codec:
    """Compile a type.

    :param type_id: the type in `btf` (C ``__u32``).
    :raise BadFileError: when it is not a type that a variable can have.
    """
    return _Compiler(btf).type(type_id, 0)


class _Compiler:
    def __init__(self, btf: Btf) -> None:
        self._btf = btf

    def type(self, type_id: int, depth: int, bits: int = 0) -> Codec:
        """Compile one type; `bits` of a bit-field, else 0."""
        if depth > _DEEPEST:
            raise BadFileError("BTF", f"types nested more than {_DEEPEST} deep")
        type_id = self._btf.resolve(type_id)
        kind = self._btf.get(type_id)
        signed = bool(kind.encoding & uapi.BTF_INT_SIGNED)
        match kind.kind:
            case uapi.BTF_KIND_INT if kind.encoding & uapi.BTF_INT_BOOL:
                return Boolean(kind.size, bits=bits)
            case uapi.BTF_KIND_INT:
                return Scalar(kind.size, signed=signed, bits=bits)
            case uapi.BTF_KIND_PTR:
                return Scalar(8)
            case uapi.BTF_KIND_ENUM | uapi.BTF_KIND_ENUM64:
                names = self._btf.enumerators(type_id)
                return Enumeration(kind.size, names, signed=signed, bits=bits)
            case uapi.BTF_KIND_FLOAT if kind.size in _FLOATS:
                return Floating(kind.size)
            case uapi.BTF_KIND_ARRAY:
                return self._array(kind, depth)
            case uapi.BTF_KIND_STRUCT | uapi.BTF_KIND_UNION:
                return self._record(kind, depth)
        return Raw(self._btf.size_of(type_id))

    def _array(self, kind: BtfType, depth: int) -> Codec:
        element = self._btf.get(self._btf.resolve(kind.type_id))
        number = element.kind == uapi.BTF_KIND_INT and not element.encoding & uapi.BTF_INT_BOOL
        if number and element.size == 1:
            return Raw(kind.length, text=True)
        return Array(self.type(kind.type_id, depth + 1), kind.length)

    def _record(self, kind: BtfType, depth: int) -> Codec:
        if kind.name in KERNEL_OWNED:
            return Raw(kind.size)
        fields: dict[str, Field] = {}
        owned: set[str] = set()
        for member in kind.members:
            self._member(member, 0, depth + 1, fields, owned)
        word = "union" if kind.kind == uapi.BTF_KIND_UNION else "struct"
        name = f"{word} {kind.name}" if kind.name else f"the {word}"
        return Record(kind.size, name, fields, frozenset(owned))

    def _member(
        self, member: BtfMember, base: int, depth: int, fields: dict[str, Field], owned: set[str]
    ) -> None:
        kind = self._btf.get(self._btf.resolve(member.type_id))
        offset = base + member.bit_offset
        if kind.name in KERNEL_OWNED:
            owned.add(member.name)
        elif member.name:
            compiled = self.type(member.type_id, depth, member.bit_size)
            fields[member.name] = Field(compiled, offset, member.bit_size or 8 * compiled.size)
        elif depth <= _DEEPEST:  # a nameless bit-field has no members: it is padding
            for inner in kind.members:
                self._member(inner, offset, depth + 1, fields, owned)


def plain(value: Value) -> object:
    """Return a value as JSON has it: bytes as a string of hexadecimal digits."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, Enumerator):
        return int(value)
    return value
