# SPDX-License-Identifier: GPL-2.0-or-later
"""What a running QEMU has on its buses, from its monitor's ``info mtree -f``.

The text is a list of flat views; each names the address spaces that see it, the
region at its root, and its ranges from the lowest to the highest:

    FlatView #0
     AS "memory", root: system
     Root memory region: system
      00000000fed00000-00000000fed003ff (prio 0, i/o): hpet

A range may start inside of its region (``@`` and the offset), and where the
accelerator has it as a slot the line ends with ``KVM``. A root that answers
where nothing else does, as the one of the ports, shows as ranges of its own
name: that is room, not a device.

Source: mtree_print_flatview() in QEMU's softmmu/memory.c (7.2), system/memory.c (10.0, 11.1).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass

from kvmbpf.errors import VmmError

# The address spaces of a VM: what all CPUs see.
MEMORY = "memory"
PORTS = "I/O"

_SPACE = re.compile(r' AS "(?P<name>.*)", root: .*')
_ROOT = re.compile(r" Root memory region: (?P<name>.*)")
_RANGE = re.compile(
    r"  (?P<start>[0-9a-f]{16})-(?P<last>[0-9a-f]{16}) "
    r"\(prio -?\d+, (?P<kind>[^)]+)\): (?P<rest>.*)"
)
# What follows a region's name. Names have blanks in them, so these are cut off.
_TRAILERS = re.compile(r"( @[0-9a-f]{16})?( owner:\{.*\}| parent:\{.*\})*( (?:KVM|HVF|MSHV))?$")


class Kind(enum.Enum):
    """What answers in a range."""

    RAM = "RAM"
    ROM = "ROM"
    DEVICE = "device"
    CONTAINER = "container"


# Flash is ROM while it is read as such (romd); memory of a passed-through device (ramd)
# is as good as RAM here. nv- goes before what survives a power cut.
_KINDS = {
    "ram": Kind.RAM,
    "ramd": Kind.RAM,
    "rom": Kind.ROM,
    "romd": Kind.ROM,
    "i/o": Kind.DEVICE,
    "container": Kind.CONTAINER,
}


@dataclass(frozen=True, slots=True)
class Range:
    """A range of a flat view.

    :param start: first address (C ``hwaddr``) or port.
    :param last: the last one.
    :param kind: what answers there.
    :param name: of QEMU's memory region.
    """

    start: int
    last: int
    kind: Kind
    name: str


@dataclass(frozen=True, slots=True)
class FlatView:
    """A flat view: the address spaces that see it, and its ranges."""

    spaces: tuple[str, ...]
    ranges: tuple[Range, ...]


def parse_mtree(text: str) -> tuple[FlatView, ...]:
    """Read the output of ``info mtree -f``.

    :param text: as the monitor gives it; line ends of either kind.
    :raise VmmError: when a range is of a kind or a form that is not known: what
        is not understood must not be taken for room.
    """
    return tuple(_view(lines) for lines in _views(text))


def ranges_of(views: tuple[FlatView, ...], space: str) -> tuple[Range, ...]:
    """Return what answers in an address space, containers left out.

    :param space: `MEMORY` or `PORTS`.
    :raise VmmError: when no view is of that space.
    """
    for view in views:
        if space in view.spaces:
            return tuple(one for one in view.ranges if one.kind is not Kind.CONTAINER)
    raise VmmError(f'info mtree -f: no view of the address space "{space}" in it')


def _views(text: str) -> Iterator[list[str]]:
    """Yield the lines of each view."""
    lines: list[str] | None = None
    for line in text.splitlines():
        if line.startswith("FlatView #"):
            if lines is not None:
                yield lines
            lines = []
        elif lines is not None and line.strip():
            lines.append(line)
    if lines is not None:
        yield lines


def _view(lines: list[str]) -> FlatView:
    spaces: list[str] = []
    ranges: list[Range] = []
    root = ""
    for line in lines:
        if found := _SPACE.fullmatch(line):
            spaces.append(found["name"])
        elif found := _ROOT.fullmatch(line):
            root = found["name"]
        elif found := _RANGE.fullmatch(line):
            ranges.append(_range(found, root))
        elif line.startswith("  ") and line[2:3].isalnum() and "-" in line[:20]:
            raise VmmError(f"info mtree -f: a line that is not understood: {line.strip()[:100]!r}")
    return FlatView(tuple(spaces), tuple(ranges))


def _range(found: re.Match[str], root: str) -> Range:
    kind = _KINDS.get(found["kind"].removeprefix("nv-"))
    if kind is None:
        raise VmmError(f"info mtree -f: a range of an unknown kind: {found[0].strip()[:100]!r}")
    name = _TRAILERS.sub("", found["rest"])
    if kind is Kind.DEVICE and name == root:
        kind = Kind.CONTAINER
    return Range(int(found["start"], 16), int(found["last"], 16), kind, name)
