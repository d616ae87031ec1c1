# SPDX-License-Identifier: GPL-2.0-or-later
"""Damaged notes and objects, from a seed: the same seed makes the same ones.

Fast rather than clever: each is a sound one with some bytes, numbers, notes or
parts of sections changed, dropped, doubled or swapped.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from kvmbpf.model.objfile.elf import ElfImage
from kvmbpf.model.spec import Bus, DeviceSpec, IrqSpec, PropertySpec, RegionSpec, Trigger
from tests.unit.model.note_encoder import (
    DEMO,
    DEVICE,
    LARGEST,
    PROPERTY,
    encode_device,
    encode_note,
    encode_property,
)

_T = TypeVar("_T")

# What goes wrong first: ends of ranges, signs, sizes, format and flag bits.
_BYTES = (0, 1, 2, 3, 7, 8, 0x20, 0x7F, 0x80, 0xFE, 0xFF)
_NUMBERS = (
    *(0, 1, 2, 3, 4, 7, 8, 16, 20, 24, 32, 33, 64, 0xFF, 0x100, 1396, 1400, 1404),
    *(0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFEC, 0xFFFFFFFC, 0xFFFFFFFF),
)
_VALUES = ("", "<1>", "<0xffffffff>", '"a"', '"a", "b"', "<&intc 1 4>", "[00 ff]", "<1 2>, [03]")
_BAD_VALUES = ("<", '"', "[0]", "<1>,", "x", "<4294967296>", '"\u00e9', "<1>x", "\n", "<1>\0", "/")
_NAMES = ("clock-frequency", "label", "a", "x" * 31, "#b", "p?")
_BAD_NAMES = ("reg", "compatible", "a b", "", "phandle", "\u00e9")


@dataclass(frozen=True)
class Mutant:
    """One damaged thing.

    :param data: its bytes.
    :param order: the byte order it was made in, ``<`` or ``>``.
    """

    data: bytes
    order: str


def damage(rng: random.Random, data: bytearray, start: int, end: int) -> None:
    """Change bytes or numbers between two places."""
    if end <= start:
        return
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        place = rng.randrange(start, end)
        choice = rng.random()
        if choice < 0.4:
            data[place] = rng.choice(_BYTES)
        elif choice < 0.6:
            data[place] ^= 1 << rng.randrange(8)
        elif choice < 0.9 and place + 8 <= end:
            form = rng.choice(("<I", ">I", "<H", "<Q"))
            number = rng.choice(_NUMBERS)
            number = number & 0xFFFF if form == "<H" else number
            at = place & ~3 if rng.random() < 0.8 and place & ~3 >= start else place
            struct.pack_into(form, data, at, number)
        else:
            length = min(rng.randrange(1, 33), end - place)
            other = rng.randrange(start, end - length + 1)
            data[place : place + length] = data[other : other + length]


# ---- notes -------------------------------------------------------------------


def changed_notes(rng: random.Random) -> Mutant:
    """Return the notes of a sound device with some bytes changed."""
    order = rng.choice("<>")
    spec = rng.choice((DEMO, DEMO, replace(LARGEST, properties=LARGEST.properties[-4:])))
    data = bytearray(b"".join(_notes(rng, spec, order)))
    if rng.random() < 0.8:
        # Where there is something: most of a device's note is zeros.
        head = rng.choice((0, 20, 0xCC, len(data) - 64))
        damage(rng, data, max(0, head), min(len(data), max(0, head) + 64))
    else:
        damage(rng, data, 0, len(data))
    if rng.random() < 0.1:
        del data[rng.randrange(len(data)) :]
    return Mutant(bytes(data), order)


def random_notes(rng: random.Random) -> Mutant:
    """Return notes that say anything, some of it sound."""
    order = rng.choice("<>")
    count = rng.choice((0, 0, 1, 2, 3))
    spec = DeviceSpec(
        name=_mostly(rng, ("dev", "d" * 31, "_1"), ("1", "a-b", "")),
        compatible=tuple(
            _mostly(rng, (f"a,b{index}", f"c{index}"), ("same", "x y", ""))
            for index in range(rng.choice((1, 1, 2, 3)))
        ),
        version=_mostly(rng, (1, 2, 0xFFFFFFFF), (0,)),
        regions=tuple(_region(rng, index) for index in range(rng.choice((1, 1, 2, 3, 8)))),
        irqs=tuple(
            IrqSpec(index, rng.choice(list(Trigger))) for index in range(rng.choice((0, 1, 32)))
        ),
        properties=tuple(
            PropertySpec(_mostly(rng, _NAMES, _BAD_NAMES), _mostly(rng, _VALUES, _BAD_VALUES))
            for _ in range(count)
        ),
        resets=rng.random() < 0.5,
        concurrent=rng.random() < 0.5,
    )
    notes = _notes(rng, spec, order)
    for _ in range(rng.choice((0, 0, 1, 2))):
        kind = _mostly(rng, (0x80000000, 0x80000001, 0xFFFFFFFF), (3, DEVICE, PROPERTY))
        content = rng.choice((b"", b"x", b"12345", struct.pack(f"{order}2I", 3, 9), bytes(1400)))
        notes.insert(rng.randrange(len(notes) + 1), encode_note(kind, content, order))
    if rng.random() < 0.1:
        notes.append(rng.choice(notes))
    return Mutant(b"".join(notes), order)


def _notes(rng: random.Random, spec: DeviceSpec, order: str) -> list[bytes]:
    notes = [encode_note(PROPERTY, encode_property(p, order), order) for p in spec.properties]
    device = encode_note(DEVICE, encode_device(spec, order), order)
    notes.insert(rng.randrange(len(notes) + 1), device)
    return notes


def _region(rng: random.Random, index: int) -> RegionSpec:
    bus = rng.choice((Bus.MMIO, Bus.MMIO, Bus.PIO))
    end = 1 << (52 if bus is Bus.MMIO else 16)
    place = 0x100 * (index + 1)
    base = _mostly(rng, (None, None, place), (0x100, end - 1, (1 << 64) - 1))
    size = _mostly(rng, (1, 8, 16, 0x100), (end, end + 1, 0, 0x1000))
    call = _mostly(rng, (("c", "d"), ("", "")), (("c", ""), ("", "d")))
    read = _mostly(rng, ("a1", "r" * 31), ("1a", ""))
    return RegionSpec(index, bus, size, read, "w", *call, base)


def _mostly(rng: random.Random, good: Sequence[_T], bad: Sequence[_T]) -> _T:
    return rng.choice(good if rng.random() < 0.96 else bad)


# ---- objects -----------------------------------------------------------------


class Objects:
    """Makes damaged objects out of sound ones.

    :param paths: the sound ones.
    """

    # Where damage leads further than to a refusal of the file as such.
    NOTES = (".note.kvmbpf",)
    TABLES = (".symtab", ".strtab")
    DEEP = (
        *(".BTF", ".BTF.ext", ".BTF", ".BTF.ext", ".rel.BTF", ".rel.BTF.ext", "syscall", ".text"),
        *(".symtab", ".strtab", ".relsyscall", ".rel.struct_ops.link", ".struct_ops.link"),
        *("license", "struct_ops/kvmbpf_read", ".relstruct_ops/kvmbpf_read", ".note.kvmbpf"),
    )

    def __init__(self, paths: list[Path]) -> None:
        self._objects = [_Sound(path) for path in paths]

    def changed(self, rng: random.Random) -> Mutant:
        """Return one with its ELF structures, its notes or anything changed."""
        return self._changed(rng, self.NOTES + self.TABLES)

    def changed_deep(self, rng: random.Random) -> Mutant:
        """Return one with its types, lines, code or relocations changed."""
        return self._changed(rng, self.DEEP, headers=0.05)

    def _changed(
        self, rng: random.Random, sections: tuple[str, ...], headers: float = 0.4
    ) -> Mutant:
        sound = rng.choice(self._objects)
        data = bytearray(sound.data)
        choice = rng.random()
        if choice < headers:
            table = rng.random() < 0.7
            start = sound.headers if table else 0
            damage(rng, data, start, len(data) if table else 64)
        elif choice < 0.95:
            start, end = sound.extents.get(rng.choice(sections), (0, len(data)))
            damage(rng, data, start, end)
        elif choice < 0.98:
            damage(rng, data, 0, len(data))
        else:
            del data[rng.randrange(len(data)) :]
        return Mutant(bytes(data), sound.order)


class _Sound:
    """An object as it was compiled, and where its parts are."""

    def __init__(self, path: Path) -> None:
        elf = ElfImage(path)
        self.data = path.read_bytes()
        self.order = "<" if elf.little_endian else ">"
        (self.headers,) = struct.unpack_from(f"{self.order}Q", self.data, 40)
        self.extents = {
            section.name: (section.offset, section.offset + section.size)
            for section in elf.sections
            if section.type != "SHT_NOBITS"
        }


Maker = Callable[[random.Random], Mutant]
