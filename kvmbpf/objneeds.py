# SPDX-License-Identifier: GPL-2.0-or-later
"""What an object's programs call and touch, and so what they need of a kernel.

Starting from a program, its calls and the callbacks that it hands over are
followed through the relocations. Each function is looked at once, and each
instruction once, for each set of programs that is asked about.
"""

from __future__ import annotations

import bisect
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from kvmbpf.elffile import ElfImage, Relocation, Section, Symbol
from kvmbpf.errors import BadFileError

INSTRUCTION_BYTES = 8

# Instructions. Source: Documentation/bpf/standardization/instruction-set.rst.
_CALL = 0x85
_LOAD_IMM64 = 0x18
_CALLS_HELPER = 0  # in the source register of a call
_CALLS_FUNCTION = 1


@dataclass(frozen=True, slots=True)
class Place:
    """An instruction.

    :param section: its section's name.
    :param offset: in the section, in bytes.
    :param in_callback: whether it runs later than the program, as a timer's
        callback does, or for each element of a map.
    """

    section: str
    offset: int
    in_callback: bool = False


@dataclass(frozen=True, slots=True)
class Function:
    """A function, as its place: a program, or what one calls."""

    section: Section
    start: int
    size: int


@dataclass(slots=True)
class Uses:
    """What a set of programs uses, each with the places where it does.

    :param kfuncs: kernel functions that are called, by name.
    :param ksyms: kernel symbols whose address is taken, by name.
    :param weak: those of both that may be missing.
    :param helpers: by number.
    :param variables: names of the object's own variables and maps.
    :param functions: that were gone through, and whether as a callback only.
    """

    kfuncs: dict[str, list[Place]] = field(default_factory=dict)
    ksyms: dict[str, list[Place]] = field(default_factory=dict)
    weak: set[str] = field(default_factory=set)
    helpers: dict[int, list[Place]] = field(default_factory=dict)
    variables: dict[str, list[Place]] = field(default_factory=dict)
    functions: dict[Function, bool] = field(default_factory=dict)

    @property
    def instructions(self) -> int:
        """How many there are in all these functions."""
        return sum(function.size for function in self.functions) // INSTRUCTION_BYTES


class CodeMap:
    """The functions of one object, and what they refer to.

    :param elf: the object.
    """

    def __init__(self, elf: ElfImage) -> None:
        self._elf = elf
        self._relocations: dict[int, dict[int, Relocation]] = {}

    def uses(self, programs: Iterable[str]) -> Uses:
        """Return what programs use, with what they call.

        :param programs: their names.
        :raise BadFileError: when code, symbols or relocations are broken.
        """
        found = Uses()
        direct = [self._by_name[name] for name in programs if name in self._by_name]
        callbacks: list[Function] = []
        while direct or callbacks:
            in_callback = not direct
            function = (direct or callbacks).pop()
            if function in found.functions:
                continue
            found.functions[function] = in_callback
            for target, handed_over in self._scan(function, in_callback, found):
                (callbacks if handed_over else direct).append(target)
        return found

    @cached_property
    def _functions(self) -> dict[tuple[int, int], tuple[str, Function]]:
        return {
            (symbol.section.index, symbol.value): (
                symbol.name,
                Function(symbol.section, symbol.value, symbol.size),
            )
            for symbol in self._elf.symbols()
            if symbol.type == "STT_FUNC"
            and symbol.section is not None
            and symbol.section.executable
        }

    @cached_property
    def _variables(self) -> dict[int, list[Symbol]]:
        """The variables of each section, by their place."""
        found: dict[int, list[Symbol]] = {}
        for symbol in self._elf.symbols():
            if symbol.type == "STT_OBJECT" and symbol.section is not None:
                found.setdefault(symbol.section.index, []).append(symbol)
        for symbols in found.values():
            symbols.sort(key=lambda item: item.value)
        return found

    @cached_property
    def _by_name(self) -> dict[str, Function]:
        return dict(self._functions.values())

    def _scan(
        self, function: Function, in_callback: bool, found: Uses
    ) -> Iterator[tuple[Function, bool]]:
        """Note what one function uses; go through the functions that it leads to.

        With each comes whether it is handed over, to be called back.
        """
        section = function.section
        code = self._elf.data(section)
        if function.start + function.size > len(code):
            raise self._bad(section, function.start, "a function goes past the section's end")
        relocations = self._relocations_of(section)
        little = self._elf.little_endian
        form = struct.Struct("<BBhi" if little else ">BBhi")
        for offset, opcode in _interesting(code, function.start, function.size):
            _, registers, _, number = form.unpack_from(code, offset)
            place = Place(section.name, offset, in_callback)
            relocation = relocations.get(offset)
            if opcode == _LOAD_IMM64:
                if relocation is not None:
                    target = self._loaded(relocation.symbol, number, place, found)
                    if target is not None:
                        yield target, True
                continue
            source = registers >> 4 if little else registers & 0xF
            if source == _CALLS_HELPER and relocation is None:
                found.helpers.setdefault(number, []).append(place)
            elif source == _CALLS_FUNCTION:
                target = self._called(section, relocation, number, place, found)
                if target is not None:
                    yield target, False

    def _loaded(self, symbol: Symbol, addend: int, place: Place, found: Uses) -> Function | None:
        """Note an address that is taken; return the function if it is one of ours."""
        section = symbol.section
        if section is None:
            found.ksyms.setdefault(symbol.name, []).append(place)
            if symbol.weak:
                found.weak.add(symbol.name)
            return None
        if section.executable:
            entry = self._functions.get((section.index, symbol.value + addend))
            return None if entry is None else entry[1]
        # A static variable is referred to as a place in its section.
        name = symbol.name or self._variable_at(section, symbol.value + addend)
        found.variables.setdefault(name, []).append(place)
        return None

    def _variable_at(self, section: Section, offset: int) -> str:
        """Return the name of the variable that an address lies in, or the section's."""
        variables = self._variables.get(section.index, [])
        index = bisect.bisect_right(variables, offset, key=lambda item: item.value) - 1
        if index >= 0 and offset < variables[index].value + variables[index].size:
            return variables[index].name
        return section.name

    def _called(
        self,
        section: Section,
        relocation: Relocation | None,
        number: int,
        place: Place,
        found: Uses,
    ) -> Function | None:
        """Note a call; return the function if it is one of ours."""
        if relocation is None:
            # Counted in instructions from the one behind the call.
            target, base = section, place.offset
        elif relocation.symbol.section is None:
            name = relocation.symbol.name
            found.kfuncs.setdefault(name, []).append(place)
            if relocation.symbol.weak:
                found.weak.add(name)
            return None
        else:
            target, base = relocation.symbol.section, relocation.symbol.value
        start = base + (number + 1) * INSTRUCTION_BYTES
        entry = self._functions.get((target.index, start))
        if entry is None:
            raise self._bad(
                section,
                place.offset,
                f"a call to {target.name}+{start:#x}, where no function starts",
            )
        return entry[1]

    def _relocations_of(self, section: Section) -> dict[int, Relocation]:
        found = self._relocations.get(section.index)
        if found is None:
            found = {item.offset: item for item in self._elf.relocations(section)}
            self._relocations[section.index] = found
        return found

    def _bad(self, section: Section, offset: int, reason: str) -> BadFileError:
        return BadFileError(self._elf.path, reason, section=section.name, offset=offset)


def _interesting(code: bytes, start: int, size: int) -> Iterator[tuple[int, int]]:
    """Go through the calls and address loads of a function: offset and opcode."""
    opcodes = code[start : start + size : INSTRUCTION_BYTES]
    for opcode in (_LOAD_IMM64, _CALL):
        index = opcodes.find(opcode)
        while index >= 0:
            yield start + index * INSTRUCTION_BYTES, opcode
            index = opcodes.find(opcode, index + 1)
