# SPDX-License-Identifier: GPL-2.0-or-later
"""What an object's programs call and touch, and so what they need of a kernel.

Starting from a program, its calls and the callbacks that it hands over are
followed through the relocations. Each function is decoded once. What is decoded,
and what is put together from it, is counted: functions of a damaged file may
overlap and call each other without end.
"""

from __future__ import annotations

import bisect
import enum
import itertools
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from kvmbpf.errors import BadFileError
from kvmbpf.model.objfile.btf import BTF_SECTION, Btf
from kvmbpf.model.objfile.elf import ElfImage
from kvmbpf.model.objfile.symbols import Section, Symbol

KCONFIG_SECTION = ".kconfig"

INSTRUCTION_BYTES = 8
# Of all functions together, in instructions. A file has at most 2 ** 19.
MAX_DECODED = 1 << 20
# Calls and addresses in them. A device of 200 KB has some thousands.
MAX_REFERENCES = 1 << 15
# Those that are gone through, for all questions together.
MAX_FOLLOWED = 1 << 17

# By whether the file is little-endian.
_INSTRUCTION = {True: struct.Struct("<BBhi"), False: struct.Struct(">BBhi")}

# Instructions. Source: Documentation/bpf/standardization/instruction-set.rst.
_CALL = 0x85
_CALL_BY_REGISTER = 0x8D
_LOAD_IMM64 = 0x18
_CALLS_HELPER = 0  # in the source register of a call
_CALLS_FUNCTION = 1

_EXIT = 0x95
_FAR_JUMP = 0x06
# Instruction classes, and moves of a number into a register.
_JUMPS = (0x05, 0x06)
_STORES = (0x02, 0x03)
_MOVES = (0xB4, 0xB7)
# A number is looked for so many instructions back.
_STEPS_BACK = 32

_PAST = 1 << 64
_TOO_MUCH = "functions overlap: too much to decode"


class Place(NamedTuple):
    """An instruction.

    :param section: its section's name.
    :param offset: in the section, in bytes.
    :param start: of its function in the section, in bytes.
    :param in_callback: whether it runs later than the program, as a timer's
        callback does, or for each element of a map.
    """

    section: str
    offset: int
    start: int
    in_callback: bool = False


class Function(NamedTuple):
    """A function, as its place: a program, or what one calls."""

    section: Section
    start: int
    size: int


@dataclass
class Uses:
    """What a set of programs uses, each with the places where it does.

    :param kfuncs: kernel functions that are called, by name.
    :param ksyms: kernel symbols whose address is taken, by name.
    :param kconfig: values of the kernel's configuration (``__kconfig``), by name; what
        is there without one, as ``LINUX_KERNEL_VERSION``, included.
    :param weak: those of these that may be missing.
    :param helpers: by number.
    :param variables: names of the object's own variables and maps.
    :param functions: that were gone through, and whether as a callback only.
    :param indirect: calls through a pointer.
    """

    kfuncs: dict[str, list[Place]] = field(default_factory=dict)
    ksyms: dict[str, list[Place]] = field(default_factory=dict)
    kconfig: dict[str, list[Place]] = field(default_factory=dict)
    weak: set[str] = field(default_factory=set)
    helpers: dict[int, list[Place]] = field(default_factory=dict)
    variables: dict[str, list[Place]] = field(default_factory=dict)
    functions: dict[Function, bool] = field(default_factory=dict)
    indirect: list[Place] = field(default_factory=list)

    @property
    def instructions(self) -> int:
        """How many there are in all these functions."""
        return sum(function.size for function in self.functions) // INSTRUCTION_BYTES

    def has(self, section: str, offset: int) -> bool:
        """Tell whether an instruction is in one of these functions.

        :param section: its section's name.
        :param offset: in the section, in bytes.
        """
        starts = self._extents.get(section, [])
        place = bisect.bisect_right(starts, (offset, _PAST)) - 1
        return place >= 0 and offset < starts[place][0] + starts[place][1]

    @cached_property
    def _extents(self) -> dict[str, list[tuple[int, int]]]:
        found: dict[str, list[tuple[int, int]]] = {}
        for function in self.functions:
            found.setdefault(function.section.name, []).append((function.start, function.size))
        for extents in found.values():
            extents.sort()
        return found


class _Kind(enum.Enum):
    """What an instruction refers to."""

    HELPER = enum.auto()
    KFUNC = enum.auto()
    KSYM = enum.auto()
    KCONFIG = enum.auto()
    VARIABLE = enum.auto()
    CALL = enum.auto()
    INDIRECT = enum.auto()
    CALLBACK = enum.auto()


# What one instruction refers to: its kind, its offset, a number, name or function, and
# whether that is weak. No class of its own: a file has thousands.
_Reference = tuple[_Kind, int, int | str | Function, bool]
# A member of an enum costs a look-up.
_HELPER, _KFUNC, _KSYM = _Kind.HELPER, _Kind.KFUNC, _Kind.KSYM
_KCONFIG, _INDIRECT = _Kind.KCONFIG, _Kind.INDIRECT
_VARIABLE, _CALL_TO, _CALLBACK = _Kind.VARIABLE, _Kind.CALL, _Kind.CALLBACK


class CodeMap:
    """The functions of one object, and what they refer to.

    :param elf: the object.
    """

    def __init__(self, elf: ElfImage) -> None:
        self._elf = elf
        self._places: dict[int, list[tuple[int, int]]] = {}
        self._instruction = _INSTRUCTION[elf.little_endian]
        # Those with a name of their own, by their index.
        self._variable_names: dict[int, str] = {}
        self._code: dict[int, bytes] = {}
        self._decoded: dict[Function, list[_Reference]] = {}
        self._targets: dict[Function, set[int]] = {}
        self._answers: dict[tuple[str, ...], Uses] = {}
        self._decoding_left = MAX_DECODED
        self._references_left = MAX_REFERENCES
        self._following_left = MAX_FOLLOWED

    def uses(self, programs: Iterable[str]) -> Uses:
        """Return what programs use, with what they call.

        :param programs: their names.
        :raise BadFileError: when code, symbols or relocations are broken.
        """
        names = tuple(programs)
        found = self._answers.get(names)
        if found is None:
            found = self._answers[names] = self._uses(names)
        return found

    def variables(self, programs: Iterable[str]) -> Iterator[str]:
        """Give the names of the variables and maps that programs use: those of `uses`.

        Each comes as it is met, once a place; code is decoded only as far as they are taken.

        :param programs: their names.
        :raise BadFileError: as `uses`.
        """
        for _, _, references in self._follow(tuple(programs)):
            for kind, _, target, _ in references:
                if kind is _VARIABLE and isinstance(target, str):
                    yield target

    def _uses(self, names: tuple[str, ...]) -> Uses:
        found = Uses()
        for function, in_callback, references in self._follow(names):
            found.functions[function] = in_callback
            for item in references:
                if not isinstance(item[2], Function):
                    _note(found, item, function, in_callback)
        return found

    def _follow(self, names: tuple[str, ...]) -> Iterator[tuple[Function, bool, list[_Reference]]]:
        """Go through programs, what they call, and then what is a callback only."""
        direct = [self._by_name[name] for name in names if name in self._by_name]
        callbacks: list[Function] = []
        seen: set[Function] = set()
        while direct or callbacks:
            in_callback = not direct
            function = (direct or callbacks).pop()
            if function in seen:
                continue
            seen.add(function)
            references = self._references(function)
            for kind, _, target, _ in references:
                if isinstance(target, Function):
                    (callbacks if kind is _CALLBACK else direct).append(target)
            yield function, in_callback, references

    def circle(self, uses: Uses) -> Place | None:
        """Return a call by which a function comes to itself again, or None.

        :param uses: what `uses` gave.
        """
        on_path: dict[Function, bool] = {}
        for root in uses.functions:
            if root in on_path:
                continue
            on_path[root] = True
            path = [(root, iter(self._decoded[root]))]
            while path:
                function, references = path[-1]
                for kind, offset, target, _ in references:
                    if kind is not _CALL_TO or not isinstance(target, Function):
                        continue
                    if on_path.get(target):
                        return Place(function.section.name, offset, function.start)
                    if target not in on_path:
                        on_path[target] = True
                        path.append((target, iter(self._decoded[target])))
                        break
                else:
                    on_path[function] = False
                    path.pop()
        return None

    def argument(self, place: Place, register: int) -> int | None:
        """Return the number that a call is given, where the code says so at once.

        :param place: the call.
        :param register: of the argument, 1 to 5.
        :return: C ``__s32``, or None where it may be anything.
        :raise BadFileError: when code is broken.
        """
        section = self._elf.section(place.section)
        function = None if section is None else self._functions.get((section.number, place.start))
        if function is None:
            return None
        code = self._code_of(function.section)
        little = self._elf.little_endian
        targets = self._jump_targets(function)
        offset = place.offset
        for _ in range(_STEPS_BACK):
            if offset in targets:
                return None  # somebody else may come here with another number
            offset -= INSTRUCTION_BYTES
            if offset < function.start:
                return None
            opcode, registers, _, number = self._instruction.unpack_from(code, offset)
            if opcode & 7 in _JUMPS:
                return None
            if (registers & 0xF if little else registers >> 4) == register:
                if opcode in _MOVES:
                    return int(number)
                if opcode & 7 not in _STORES:
                    return None
        return None

    def _jump_targets(self, function: Function) -> set[int]:
        """Return the places in a function that jumps lead to."""
        found = self._targets.get(function)
        if found is None:
            self._decoding_left -= function.size // INSTRUCTION_BYTES
            if self._decoding_left < 0:
                raise self._bad(function.section, function.start, _TOO_MUCH)
            end = function.start + function.size
            code = self._code_of(function.section)[function.start : end]
            whole = code[: len(code) // INSTRUCTION_BYTES * INSTRUCTION_BYTES]
            order = "<" if self._elf.little_endian else ">"
            found = self._targets[function] = {
                # A jump of 32 bits has its distance in the last field.
                function.start + (index + 1 + (far if opcode == _FAR_JUMP else near)) * 8
                for index, (opcode, near, far) in enumerate(
                    struct.iter_unpack(f"{order}Bxhi", whole)
                )
                if opcode & 7 in _JUMPS and opcode not in (_CALL, _EXIT)
            }
        return found

    @cached_property
    def _functions(self) -> dict[tuple[int, int], Function]:
        return {
            (symbol.section.number, symbol.value): Function(
                symbol.section, symbol.value, symbol.size
            )
            for symbol in self._elf.functions()
            if symbol.section is not None and symbol.section.executable
        }

    @cached_property
    def _by_name(self) -> dict[str, Function]:
        return {
            symbol.name: Function(symbol.section, symbol.value, symbol.size)
            for symbol in self._elf.functions()
            if symbol.section is not None and symbol.section.executable
        }

    @cached_property
    def _variables(self) -> dict[int, list[Symbol]]:
        """The variables of each section, by their place."""
        found: dict[int, list[Symbol]] = {}
        for symbol in self._elf.variables():
            if symbol.section is not None:
                found.setdefault(symbol.section.number, []).append(symbol)
        for symbols in found.values():
            symbols.sort(key=lambda item: item.value)
        return found

    def _references(self, function: Function) -> list[_Reference]:
        """Return what one function refers to; decoded once, counted each time."""
        found = self._decoded.get(function)
        if found is None:
            self._decoding_left -= function.size // INSTRUCTION_BYTES
            if self._decoding_left < 0:
                raise self._bad(function.section, function.start, _TOO_MUCH)
            found = list(itertools.islice(self._decode(function), self._references_left + 1))
            self._references_left -= len(found)
            if self._references_left < 0:
                raise self._bad(
                    function.section, function.start, f"more than {MAX_REFERENCES} references"
                )
            self._decoded[function] = found
        self._following_left -= len(found) + 1
        if self._following_left < 0:
            raise self._bad(function.section, function.start, "too many calls to follow")
        return found

    def _decode(self, function: Function) -> Iterator[_Reference]:
        """Give what one function refers to: the addresses first."""
        section = function.section
        code = self._code_of(section)
        if function.start + function.size > len(code):
            raise self._bad(section, function.start, "a function goes past the section's end")
        places = self._places_of(section)
        end = function.start + function.size
        first, last = (bisect.bisect_left(places, (place,)) for place in (function.start, end))
        symbols = dict(places[first:last])
        yield from self._loads(function, code, symbols)
        yield from self._calls(function, code, symbols)

    def _loads(
        self, function: Function, code: bytes, symbols: Mapping[int, int]
    ) -> Iterator[_Reference]:
        """Give what the addresses are of that a function takes.

        :param symbols: the symbols' indexes that the function refers to, by place.
        """
        variables, start = self._variable_names, function.start
        for offset, index in symbols.items():
            if code[offset] != _LOAD_IMM64 or (offset - start) % INSTRUCTION_BYTES:
                continue
            name = variables.get(index)
            if name is not None:
                yield _VARIABLE, offset, name, False
                continue
            _, _, _, addend = self._instruction.unpack_from(code, offset)
            loaded = self._loaded(self._elf.symbol(index), addend, offset)
            if loaded is None:
                continue
            if loaded[0] is _VARIABLE and self._elf.symbol(index).name:
                variables[index] = str(loaded[2])
            yield loaded

    def _calls(
        self, function: Function, code: bytes, symbols: Mapping[int, int]
    ) -> Iterator[_Reference]:
        """Give what a function calls."""
        little = self._elf.little_endian
        for offset in _having(code, function.start, function.size, _CALL):
            _, registers, _, number = self._instruction.unpack_from(code, offset)
            index = symbols.get(offset)
            source = registers >> 4 if little else registers & 0xF
            if source == _CALLS_HELPER and index is None:
                yield _HELPER, offset, number, False
            elif source == _CALLS_FUNCTION:
                symbol = None if index is None else self._elf.symbol(index)
                yield self._called(function.section, symbol, number, offset)
        for offset in _having(code, function.start, function.size, _CALL_BY_REGISTER):
            yield _INDIRECT, offset, 0, False

    def _loaded(self, symbol: Symbol, addend: int, offset: int) -> _Reference | None:
        """Return what an address that is taken is of; None for no function's beginning."""
        section = symbol.section
        if section is None:
            kind = _KCONFIG if symbol.name in self._kconfig else _KSYM
            return kind, offset, symbol.name, symbol.weak
        if section.executable:
            target = self._functions.get((section.number, symbol.value + addend))
            return None if target is None else (_CALLBACK, offset, target, False)
        # A static variable is referred to as a place in its section.
        name = symbol.name or self._variable_at(section, symbol.value + addend)
        return _VARIABLE, offset, name, False

    def _variable_at(self, section: Section, offset: int) -> str:
        """Return the name of the variable that an address lies in, or the section's."""
        variables = self._variables.get(section.number, [])
        index = bisect.bisect_right(variables, offset, key=lambda item: item.value) - 1
        if index >= 0 and offset < variables[index].value + variables[index].size:
            return variables[index].name
        return section.name

    def _called(
        self, section: Section, symbol: Symbol | None, number: int, offset: int
    ) -> _Reference:
        """Return what a call calls."""
        if symbol is None:
            # Counted in instructions from the one behind the call.
            target, base = section, offset
        elif symbol.section is None:
            return _KFUNC, offset, symbol.name, symbol.weak
        else:
            target, base = symbol.section, symbol.value
        start = base + (number + 1) * INSTRUCTION_BYTES
        function = self._functions.get((target.number, start))
        if function is None:
            raise self._bad(
                section, offset, f"a call to {target.name}+{start:#x}, where no function starts"
            )
        return _CALL_TO, offset, function, False

    @cached_property
    def _kconfig(self) -> frozenset[str]:
        """The names that are of the kernel's configuration: only the types say which."""
        section = self._elf.section(BTF_SECTION)
        if section is None or f"\0{KCONFIG_SECTION}\0".encode() not in self._elf.data(section):
            return frozenset()  # as a rule, and then the types need not be read
        btf = Btf.of(self._elf)
        found = None if btf is None else btf.datasec(KCONFIG_SECTION)
        if btf is None or found is None:
            return frozenset()
        return frozenset(variable.name for variable in btf.variables(found))

    def _code_of(self, section: Section) -> bytes:
        found = self._code.get(section.number)
        if found is None:
            found = self._code[section.number] = self._elf.data(section)
        return found

    def _places_of(self, section: Section) -> list[tuple[int, int]]:
        """Return the places of a section that refer to symbols, and the symbols' indexes.

        Each place is there once: functions of a damaged file may overlap there.
        """
        found = self._places.get(section.number)
        if found is None:
            entries = self._elf.relocation_entries(section)
            found = list({offset: info >> 32 for offset, info in entries}.items())
            self._places[section.number] = found
        return found

    def _bad(self, section: Section, offset: int, reason: str) -> BadFileError:
        return BadFileError(self._elf.path, reason, section=section.name, offset=offset)


def _note(found: Uses, item: _Reference, function: Function, in_callback: bool) -> None:
    """Add what an instruction refers to, and its place."""
    kind, offset, target, weak = item
    place = Place(function.section.name, offset, function.start, in_callback)
    if kind is _INDIRECT:
        found.indirect.append(place)
    elif isinstance(target, int):
        found.helpers.setdefault(target, []).append(place)
    elif isinstance(target, str):
        names = _names(found, kind)
        names.setdefault(target, []).append(place)
        if weak:
            found.weak.add(target)


def _names(found: Uses, kind: _Kind) -> dict[str, list[Place]]:
    """Return where the names of a kind are kept."""
    if kind is _VARIABLE:
        return found.variables
    if kind is _KFUNC:
        return found.kfuncs
    return found.kconfig if kind is _KCONFIG else found.ksyms


def _having(code: bytes, start: int, size: int, opcode: int) -> Iterator[int]:
    """Go through the instructions of a function that have an opcode: their places."""
    opcodes = code[start : start + size : INSTRUCTION_BYTES]
    index = opcodes.find(opcode)
    while index >= 0:
        yield start + index * INSTRUCTION_BYTES
        index = opcodes.find(opcode, index + 1)
