# SPDX-License-Identifier: GPL-2.0-or-later
"""Which types the kernel refuses, by its own rules, in the order in which it looks.

The kernel takes an object's types whole or not at all, and says which one it does not
take in a log that nobody sees. Compilers make types that it refuses: a name with a
`$`, a variable of no size, a float in a packed struct. Each is told here as a `Fault`,
by the name in the source.

First each type is looked at by itself, then what it refers to is followed, as deep as
the kernel goes; each type is followed once, so that the effort is that of reading them.
What libbpf changes before the kernel sees the types is taken as changed: sizes of data
sections, and what is declared for the kernel to fill in.

Source: kernel/bpf/btf.c, v6.12: btf_check_all_metas(), btf_check_all_types(); the names'
limit is that of v6.1 and later.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from kvmbpf.model.objfile.btf import Btf, BtfType, Kind, Member
from kvmbpf.model.objfile.elf import ElfImage

# KSYM_NAME_LEN; the kernel lets a name have as many characters, and a NUL.
MAX_NAME_BYTES = 512
# MAX_RESOLVE_DEPTH.
MAX_RESOLVED = 32
# Members, values, arguments and variables of all types together, each time that they
# are looked at. A device has some hundreds, and one that knows the kernel's some thousands.
MAX_ENTRIES = 1 << 16
# That are told of one object.
MAX_FAULTS = 8

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_.")
_LETTERS_AND_DIGITS = _LETTERS | frozenset("0123456789")
_U32_MAX = (1 << 32) - 1
_U128_BITS = 128
_INT_BITS = 32
_POINTER_BYTES = 8
_FLOAT_BYTES = frozenset((2, 4, 8, 12, 16))
_ENUM_BYTES = frozenset((1, 2, 4, 8))
_INT_BYTES = frozenset((1, 2, 4, 8, 16))
_INT_MASK = 0x0FFFFFFF
_ENCODINGS = frozenset((0, 1, 2, 4))
_FUNC_EXTERN = 2
_VAR_EXTERN = 2
# libbpf writes these anew.
_DECLARED = frozenset((".ksyms", ".kconfig"))

_MODIFIERS = frozenset(
    (Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG),
)
_STRUCTS = frozenset((Kind.STRUCT, Kind.UNION))
_ENUMS = frozenset((Kind.ENUM, Kind.ENUM64))
_FOLLOWED = _MODIFIERS | _STRUCTS | {Kind.PTR, Kind.ARRAY, Kind.VAR, Kind.FUNC, Kind.DECL_TAG}
_FOLLOWED |= {Kind.DATASEC}
_SOURCE_ONLY = frozenset((Kind.VAR, Kind.DECL_TAG, Kind.DATASEC))
_NO_SIZE = frozenset((Kind.VOID, Kind.FWD, Kind.FUNC, Kind.FUNC_PROTO, Kind.DECL_TAG))
_TAGGED = _STRUCTS | {Kind.FUNC, Kind.VAR, Kind.TYPEDEF}
_NO_KIND_FLAG = frozenset(Kind) - _STRUCTS - _ENUMS - {Kind.FWD, Kind.DECL_TAG, Kind.TYPE_TAG}
_NO_NAME = frozenset((Kind.ARRAY, Kind.PTR, Kind.CONST, Kind.VOLATILE, Kind.RESTRICT))
_NO_NAME |= {Kind.FUNC_PROTO}
_NAMED = frozenset((Kind.TYPEDEF, Kind.FWD, Kind.FUNC, Kind.VAR))
_NO_ENTRIES = _MODIFIERS | {Kind.INT, Kind.PTR, Kind.ARRAY, Kind.FWD, Kind.VAR, Kind.FLOAT}
_NO_ENTRIES |= {Kind.DECL_TAG}
_WORDS = {
    Kind.VAR: "variable",
    Kind.FUNC: "function",
    Kind.DATASEC: "section",
    Kind.FWD: "struct",
    Kind.ENUM64: "enum",
    Kind.FLOAT: "type",
    Kind.INT: "type",
}


class Fault(enum.Enum):
    """Why the kernel refuses a type: its own words, and what to do."""

    NAME = (
        "Invalid name",
        "has a name that the kernel takes only of ASCII letters, digits, _ and ., of at most "
        f"{MAX_NAME_BYTES}",
        "give it another name",
    )
    NO_NAME = ("Invalid name", "has no name", "give it a name")
    TAG = ("Invalid value", "has no text", "give the tag a text, or take it away")
    TAG_PLACE = ("Invalid type_id", "is where there can be none", "take the tag away")
    TAG_INDEX = ("Invalid component_idx", "is of a part that it has not", "take the tag away")
    TAG_ORDER = (
        "Type tags don't precede modifiers",
        "has a type tag after const or volatile",
        "write the tag first",
    )
    NO_SIZE = (
        "Invalid size",
        "has no size: it is an empty struct or an array of 0",
        "give it at least one byte, or take it away",
    )
    INT = ("nr_bits exceeds", "is an integer of odd bits", "use __u8 to __u64, or __int128")
    FLOAT = ("Invalid type_size", "is a float of an odd size", "use float or double")
    FLOAT_PLACE = (
        "Member is not properly aligned",
        "is a floating point number that is not aligned to its size",
        "take packed away, put it first, or make it an array of bytes",
    )
    ENUM = ("Unexpected size", "is an enum of an odd size", "use one of 1, 2, 4 or 8 bytes")
    BIT_FIELD = (
        "Invalid member bitfield_size",
        "is a bit field that is wider than the kernel takes",
        "make it a plain member; one of an enum has at most 32 bits",
    )
    BIT_BASE = ("Invalid member base type", "is a bit field of no integer", "use a plain integer")
    BIT_SPAN = (
        "nr_copy_bits exceeds 128",
        "is a bit field that spans more than 128 bits",
        "let it begin at a whole byte",
    )
    PLACE = (
        "Member is not byte aligned",
        "is not at a whole byte",
        "put bit fields after it",
    )
    ORDER = ("Invalid member bits_offset", "lies before the member above it", "mend the object")
    PAST_END = (
        "Member exceeds struct_size",
        "goes past the end of its struct",
        "an enum beside bit fields counts as 4 bytes: make it an int, or put it first",
    )
    MEMBER = ("Invalid member", "is of a type without a size", "use a pointer to it")
    ELEMENT = ("Invalid elem", "is an array of what has no size", "use an array of pointers")
    INDEX = ("Invalid index", "is an array that no integer counts", "mend the object")
    TOO_LARGE = ("Array size overflows U32_MAX", "has 4 GiB or more", "make it smaller")
    ARGUMENT = (
        "Invalid arg",
        "has an argument without a name, or of a type without a size",
        "give each argument of its definition a name",
    )
    RETURN = ("Invalid return type", "returns what has no size", "return a pointer or void")
    LINKAGE = ("linkage", "is of a linkage that the kernel has not", "mend the object")
    REFERENCE = (
        "Invalid type_id",
        "is of a type that the kernel cannot tell, as of _Complex, or of none",
        "use another type",
    )
    FLAG = ("Invalid btf_info", "has a flag that its kind has not", "mend the object")
    OVERLAP = (
        "Invalid offset",
        "lies over the variable before it, or past its section",
        "define it once",
    )
    LOOP = ("Loop detected", "contains itself", "use a pointer")
    DEPTH = (
        "Exceeded max resolving depth",
        f"is more than {MAX_RESOLVED} types deep",
        "nest fewer structs, or define the inner ones first",
    )

    TOO_MANY = (
        "not looked at",
        f"have more than {MAX_ENTRIES} members and values, of which the rest was not looked at",
        "leave out what is not used",
    )

    def __init__(self, kernel: str, words: str, mend: str) -> None:
        self.kernel = kernel
        self.words = words
        self.mend = mend


@dataclass(frozen=True, slots=True)
class Refused:
    """A type that the kernel refuses.

    :param fault: why.
    :param place: what it is in the source, as ``variable a$b`` or ``member f of struct s``.
    :param name: of the variable or function, or empty.
    """

    fault: Fault
    place: str
    name: str = ""


def refused(btf: Btf, elf: ElfImage | None = None) -> Iterator[Refused]:
    """Give the types that the kernel refuses, the first of them first.

    :param btf: the types.
    :param elf: the object, where they are to be taken as libbpf hands them on; None
        takes them as they are.
    :raise BadFileError: when the types are damaged.
    """
    try:
        yield from itertools.islice(_walk(btf, elf), MAX_FAULTS)
    except _TooMany:
        yield Refused(Fault.TOO_MANY, "the types")


def _walk(btf: Btf, elf: ElfImage | None) -> Iterator[Refused]:
    effort = _Effort()
    alone = False
    for fault in _Alone(btf, elf, effort).faults():
        alone = True
        yield fault
    if not alone:  # the kernel follows nothing after it
        yield from _Followed(btf, elf, effort).faults()


class _TooMany(Exception):  # noqa: N818 (it ends both walks)
    """The types have more entries than are looked at."""


class _Effort:
    """Counts the entries that are looked at: types may share them without end."""

    def __init__(self) -> None:
        self._left = MAX_ENTRIES

    def spend(self, found: BtfType) -> None:
        """Count the entries of a type.

        :raise _TooMany: when there were too many.
        """
        self._left -= found.count
        if self._left < 0:
            raise _TooMany


class _Alone:
    """Each type by itself: btf_check_all_metas()."""

    def __init__(self, btf: Btf, elf: ElfImage | None, effort: _Effort) -> None:
        self._btf = btf
        self._elf = elf
        self._effort = effort

    def faults(self) -> Iterator[Refused]:
        for type_id in range(1, len(self._btf)):
            found = self._btf.get(type_id)
            fault = self._common(found)
            if fault is not None:
                yield _of(found, fault)
                continue
            self._effort.spend(found)
            yield from self._special(found)

    def _common(self, found: BtfType) -> Fault | None:
        kind = found.kind
        if kind in _NAMED and not found.name:
            return Fault.NO_NAME
        if kind in _NO_NAME and found.name:
            return Fault.FLAG
        if kind is Kind.TYPE_TAG and not found.name:
            return Fault.TAG
        if (kind in _NAMED or kind in _STRUCTS or kind in _ENUMS) and not _is_name(found.name):
            return Fault.NAME
        if found.flag and kind in _NO_KIND_FLAG:
            return Fault.FLAG
        if found.count and kind in _NO_ENTRIES:
            return Fault.FLAG
        return None

    def _special(self, found: BtfType) -> Iterator[Refused]:
        kind = found.kind
        fault = None
        if kind is Kind.INT:
            fault = _int(self._btf, found)
        elif kind is Kind.FLOAT and found.size not in _FLOAT_BYTES:
            fault = Fault.FLOAT
        elif kind is Kind.ARRAY:
            element, index, _ = self._btf.words(found, 3)
            fault = Fault.ELEMENT if not element else Fault.INDEX if not index else None
        elif kind is Kind.FUNC:
            if found.count > _FUNC_EXTERN or (found.count == _FUNC_EXTERN and self._elf is None):
                fault = Fault.LINKAGE
        elif kind is Kind.VAR:
            fault = self._variable(found)
        elif kind is Kind.DECL_TAG:
            yield from self._tag(found)
        elif kind in _STRUCTS:
            yield from self._members(found)
        elif kind in _ENUMS:
            yield from self._values(found)
        elif kind is Kind.DATASEC:
            yield from self._section(found)
        if fault is not None:
            yield _of(found, fault)

    def _tag(self, found: BtfType) -> Iterator[Refused]:
        (index,) = self._btf.words(found, 1)
        if not found.name:
            yield _tag(self._btf, found, Fault.TAG)
        elif index >= 1 << 31 and index != _U32_MAX:
            yield _tag(self._btf, found, Fault.TAG_INDEX)

    def _variable(self, found: BtfType) -> Fault | None:
        if not found.target:
            return Fault.REFERENCE
        (linkage,) = self._btf.words(found, 1)
        if linkage > _VAR_EXTERN or (linkage == _VAR_EXTERN and self._elf is None):
            return Fault.LINKAGE
        return None

    def _members(self, found: BtfType) -> Iterator[Refused]:
        last = 0
        for member in self._btf.members(found):
            fault = None
            if member.name and not _is_name(member.name):
                fault = Fault.NAME
            elif not member.type_id:
                fault = Fault.MEMBER
            elif last > member.bit_offset or (found.kind is Kind.UNION and member.bit_offset):
                fault = Fault.ORDER
            elif -(-member.bit_offset // 8) > found.size:
                fault = Fault.PAST_END
            if fault is not None:
                yield _member(found, member, fault)
                return
            last = member.bit_offset

    def _values(self, found: BtfType) -> Iterator[Refused]:
        if found.size not in _ENUM_BYTES:
            yield _of(found, Fault.ENUM)
            return
        words = 3 if found.kind is Kind.ENUM64 else 2
        for index in range(found.count):
            name = self._btf.string(self._btf.words(found, words, index)[0])
            if not name or not _is_name(name):
                fault = Fault.NAME if name else Fault.NO_NAME
                yield Refused(fault, f"enumerator {name or index} of {_named(found)}")
                return

    def _section(self, found: BtfType) -> Iterator[Refused]:
        if self._elf is not None and (
            found.name in _DECLARED or self._elf.section(found.name) is None
        ):
            return  # libbpf writes it anew, or does not open the object
        if not _is_section(found.name):
            yield _of(found, Fault.NAME)
            return
        size = self._size(found)
        variables = list(self._btf.variables(found))
        if self._elf is not None:  # libbpf sorts them
            variables.sort(key=lambda variable: variable.offset)
        last = 0
        for variable in variables:
            fault = None
            if not variable.size:
                fault = Fault.NO_SIZE
            elif variable.offset < last or variable.offset + variable.size > size:
                fault = Fault.OVERLAP
            if fault is not None:
                yield Refused(fault, f"variable {variable.name}", variable.name)
                return
            last = variable.offset + variable.size
        if not size:
            yield _of(found, Fault.NO_SIZE)

    def _size(self, found: BtfType) -> int:
        if found.size or self._elf is None:
            return found.size
        section = self._elf.section(found.name)
        return 0 if section is None else section.size


class _Full(Exception):  # noqa: N818 (it ends a walk)
    """A type is in a circle, or too deep."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


class _Mode(enum.Enum):
    """What a walk does not follow: RESOLVE_*."""

    ANY = enum.auto()
    POINTERS = enum.auto()
    PARTS = enum.auto()


class _Followed:
    """Types with what they refer to: btf_check_all_types()."""

    def __init__(self, btf: Btf, elf: ElfImage | None, effort: _Effort) -> None:
        self._btf = btf
        self._elf = elf
        self._effort = effort
        self._done: set[int] = {0}
        self._begun: set[int] = set()
        self._stack: list[tuple[BtfType, Iterator[int]]] = []
        self._mode = _Mode.ANY

    def faults(self) -> Iterator[Refused]:
        for type_id in range(1, len(self._btf)):
            found = self._btf.get(type_id)
            fault = None
            if found.kind in _FOLLOWED and type_id not in self._done:
                fault = self._resolve(found)
            if fault is None and found.kind is Kind.FUNC_PROTO:
                fault = self._prototype(found)
            if fault is not None:
                yield fault

    def _resolve(self, root: BtfType) -> Refused | None:
        """Follow a type, and what it needs; return what is refused."""
        self._mode = _Mode.ANY
        self._stack.clear()
        try:
            self._push(root)
            while self._stack:
                found, parts = self._stack[-1]
                for part in parts:
                    other = self._btf.get(part)
                    if not self._ends(other) and part not in self._done:
                        self._push(other)
                        break
                else:
                    self._stack.pop()
                    self._done.add(found.id)
                    fault = self._whole(found)
                    if fault is not None:
                        return fault
        except _Full as full:
            self._done.update(item.id for item, _ in self._stack)
            return _of(root, full.fault)
        return None

    def _push(self, found: BtfType) -> None:
        if len(self._stack) == MAX_RESOLVED:
            raise _Full(Fault.DEPTH)
        if found.id in self._begun:
            raise _Full(Fault.LOOP)
        self._begun.add(found.id)
        self._stack.append((found, self._parts(found)))
        if self._mode is _Mode.ANY:
            if found.kind is Kind.PTR:
                self._mode = _Mode.POINTERS
            elif found.kind in _STRUCTS or found.kind is Kind.ARRAY:
                self._mode = _Mode.PARTS

    def _ends(self, found: BtfType) -> bool:
        """Tell whether a walk does not go on to a type: env_type_is_resolve_sink()."""
        kind = found.kind
        if self._mode is _Mode.ANY:
            return kind not in _FOLLOWED
        if kind in _MODIFIERS:
            return False
        if self._mode is _Mode.POINTERS:
            return kind is not Kind.PTR
        return kind is not Kind.ARRAY and kind not in _STRUCTS

    def _parts(self, found: BtfType) -> Iterator[int]:
        """Give the types that have to be known before one."""
        kind = found.kind
        if kind in _STRUCTS:
            self._effort.spend(found)
            for index in range(found.count):
                yield self._btf.words(found, 3, index)[1]
        elif kind is Kind.ARRAY:
            element, index, _ = self._btf.words(found, 3)
            yield from (index, element)
        elif kind is Kind.DATASEC:
            self._mode = _Mode.ANY
            for index in range(found.count):
                yield self._btf.words(found, 3, index)[0]
        elif kind in _MODIFIERS or kind in (Kind.VAR, Kind.PTR, Kind.DECL_TAG):
            yield found.target

    def _whole(self, found: BtfType) -> Refused | None:
        """Return what is wrong with a type whose parts are known."""
        kind = found.kind
        if kind in _STRUCTS:
            return self._members(found)
        fault = None
        if kind in _MODIFIERS or kind is Kind.PTR:
            if self._btf.get(found.target).kind in _SOURCE_ONLY:
                fault = Fault.REFERENCE
            elif kind in _MODIFIERS and kind is not Kind.TYPE_TAG:
                # Of a chain of them the first that is out of place is told.
                behind = self._btf.get(found.target).kind
                fault = Fault.TAG_ORDER if behind is Kind.TYPE_TAG else None
        elif kind is Kind.VAR:
            (linkage,) = self._btf.words(found, 1)
            # What is only declared gets another type from libbpf.
            fault = None if linkage == _VAR_EXTERN or self._sized(found.target) else Fault.REFERENCE
        elif kind is Kind.ARRAY:
            fault = self._array(found)
        elif kind is Kind.FUNC:
            fault = self._function(found)
        elif kind is Kind.DECL_TAG:
            fault = self._tag(found)
            return None if fault is None else _tag(self._btf, found, fault)
        elif kind is Kind.DATASEC:
            return self._section(found)
        return None if fault is None else _of(found, fault)

    def _sized(self, type_id: int) -> bool:
        """Tell whether a type has a size, be it 0: btf_type_id_size()."""
        kind = self._btf.resolve(type_id).kind
        return kind not in _NO_SIZE and kind not in _SOURCE_ONLY

    def _array(self, found: BtfType) -> Fault | None:
        element, index, count = self._btf.words(found, 3)
        counter = self._btf.resolve(index)
        if counter.kind is not Kind.INT or not _is_regular(self._btf, counter):
            return Fault.INDEX
        if not self._sized(element):
            return Fault.ELEMENT
        last = self._btf.resolve(element)
        if last.kind is Kind.INT and not _is_regular(self._btf, last):
            return Fault.INT
        if count * self._btf.size_of(element) > _U32_MAX:
            return Fault.TOO_LARGE
        return None

    def _members(self, found: BtfType) -> Refused | None:
        self._effort.spend(found)
        for member in self._btf.members(found):
            fault = Fault.MEMBER
            if self._sized(member.type_id):
                fault_or_none = self._member_fault(found, member)
                if fault_or_none is None:
                    continue
                fault = fault_or_none
            return _member(found, member, fault)
        return None

    def _member_fault(self, found: BtfType, member: Member) -> Fault | None:
        of = self._btf.resolve(member.type_id)
        if of.kind is Kind.INT:
            return _int_member(self._btf, found, member, of)
        if found.flag and of.kind is Kind.ENUM:
            return _enum_member(found, member)
        if found.flag and of.kind is Kind.ENUM64:
            return _enum_member(found, member)
        if member.bits:
            return Fault.BIT_FIELD
        if of.kind is Kind.FLOAT:
            if member.bit_offset % (min(_POINTER_BYTES, of.size) * 8):
                return Fault.FLOAT_PLACE
        elif member.bit_offset % 8:
            return Fault.PLACE
        if member.bit_offset // 8 + self._btf.size_of(of.id) > found.size:
            return Fault.PAST_END
        return None

    def _function(self, found: BtfType) -> Fault | None:
        prototype = self._btf.get(found.target)
        if prototype.kind is not Kind.FUNC_PROTO:
            return Fault.REFERENCE
        if self._elf is not None and found.count == _FUNC_EXTERN:
            return None  # libbpf names the arguments of what is only declared
        self._effort.spend(prototype)
        for index in range(prototype.count):
            name, type_id = self._btf.words(prototype, 2, index)
            if type_id and not name:
                return Fault.ARGUMENT
        return None

    def _prototype(self, found: BtfType) -> Refused | None:
        fault = None
        self._effort.spend(found)
        if found.target:
            back = self._btf.get(found.target)
            fault = self._value(back, Fault.RETURN)
        for index in range(found.count):
            if fault is not None:
                break
            name, type_id = self._btf.words(found, 2, index)
            if not type_id and index == found.count - 1:
                return _of(found, Fault.ARGUMENT) if name else None
            text = self._btf.string(name)
            if text and not _is_name(text):
                fault = Refused(Fault.NAME, f"argument {text}")
            else:
                fault = self._value(self._btf.get(type_id), Fault.ARGUMENT)
        return fault

    def _value(self, found: BtfType, fault: Fault) -> Refused | None:
        """Follow the type of an argument, or of what a function returns."""
        if found.kind in _SOURCE_ONLY:
            return _of(found, fault)
        if found.kind in _FOLLOWED and found.id not in self._done:
            refusal = self._resolve(found)
            if refusal is not None:
                return refusal
        return None if self._sized(found.id) else _of(found, fault)

    def _tag(self, found: BtfType) -> Fault | None:
        target = self._btf.get(found.target)
        if target.kind not in _TAGGED:
            return Fault.TAG_PLACE
        (index,) = self._btf.words(found, 1)
        if index == _U32_MAX:
            return None
        if target.kind in (Kind.VAR, Kind.TYPEDEF):
            return Fault.TAG_INDEX
        of = target if target.kind in _STRUCTS else self._btf.get(target.target)
        return None if index < of.count else Fault.TAG_INDEX

    def _section(self, found: BtfType) -> Refused | None:
        if self._elf is not None and found.name in _DECLARED:
            return None
        for index in range(found.count):
            variable_id, _, size = self._btf.words(found, 3, index)
            variable = self._btf.get(variable_id)
            if variable.kind is not Kind.VAR:
                return _of(found, Fault.REFERENCE)
            if not self._sized(variable.target) or size < self._btf.size_of(variable.target):
                return _of(variable, Fault.OVERLAP)
        return None


def _int(btf: Btf, found: BtfType) -> Fault | None:
    (word,) = btf.words(found, 1)
    bits = (word & 0xFF) + (word >> 16 & 0xFF)
    if word & ~_INT_MASK or bits > _U128_BITS or -(-bits // 8) > found.size:
        return Fault.INT
    return None if word >> 24 & 0xF in _ENCODINGS else Fault.INT


def _is_regular(btf: Btf, found: BtfType) -> bool:
    (word,) = btf.words(found, 1)
    bits = word & 0xFF
    return not word >> 16 & 0xFF and bits % 8 == 0 and bits // 8 in _INT_BYTES


def _int_member(btf: Btf, found: BtfType, member: Member, of: BtfType) -> Fault | None:
    (word,) = btf.words(of, 1)
    width, start = word & 0xFF, member.bit_offset
    bits = width
    if found.flag:
        if not _is_regular(btf, of):
            return Fault.BIT_BASE
        if not member.bits and start % 8:
            return Fault.PLACE
        if member.bits > width:
            return Fault.BIT_FIELD
        bits = member.bits or width
    else:
        start += word >> 16 & 0xFF
    bits += start % 8
    if bits > _U128_BITS:
        return Fault.BIT_SPAN
    return Fault.PAST_END if start // 8 + -(-bits // 8) > found.size else None


def _enum_member(found: BtfType, member: Member) -> Fault | None:
    if not member.bits and member.bit_offset % 8:
        return Fault.PLACE
    if member.bits > _INT_BITS:
        return Fault.BIT_FIELD
    bits = member.bit_offset + (member.bits or _INT_BITS)
    return Fault.PAST_END if -(-bits // 8) > found.size else None


def _is_name(name: str) -> bool:
    """Tell whether the kernel takes an identifier, or there is none."""
    if not name:
        return True
    return (
        name[0] in _LETTERS and len(name) <= MAX_NAME_BYTES and _LETTERS_AND_DIGITS.issuperset(name)
    )


def _is_section(name: str) -> bool:
    raw = name.encode()
    return 0 < len(raw) <= MAX_NAME_BYTES and all(
        0x20 <= byte < 0x7F or byte >= 0xA0 for byte in raw
    )


def _named(found: BtfType) -> str:
    word = _WORDS.get(found.kind, found.kind.name.lower())
    return f"{word} {found.name or f'without a name (type {found.id})'}"


def _of(found: BtfType, fault: Fault) -> Refused:
    name = found.name if found.kind in (Kind.VAR, Kind.FUNC) else ""
    return Refused(fault, _named(found), name)


def _tag(btf: Btf, found: BtfType, fault: Fault) -> Refused:
    return Refused(fault, f"tag of {_named(btf.get(found.target))}")


def _member(found: BtfType, member: Member, fault: Fault) -> Refused:
    return Refused(fault, f"member {member.name or 'without a name'} of {_named(found)}")
