# SPDX-License-Identifier: GPL-2.0-or-later
"""A device tree that nodes are put into: a new one, or one that a machine has.

Reads and writes the flattened form through the `fdt` library, and adds what that
has not: nodes by label, phandles, addresses through the ``ranges`` of the buses
above, and source text that dtc reads back to the very same bytes.
Source: "Devicetree Specification", v0.4, chapters 2 and 5.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

import fdt

from kvmbpf.errors import BadFileError, PlacementError
from kvmbpf.model.dts import Bytes, Cells, Part, Strings, unparse_value

CELL_BITS = 32

_NAME = re.compile(r"[!-~]+")
_MAGIC = b"\xd0\x0d\xfe\xed"
_VERSION = 17
_COMPATIBLE_VERSION = 16
_MAX_BYTES = 16 << 20
# Linux goes no deeper. Source: FDT_MAX_DEPTH in drivers/of/fdt.c (v6.12).
_MAX_DEPTH = 64
# Of what a phandle can be, the largest two mean something else.
_MAX_PHANDLE = 0xFFFFFFFD


class Tree:
    """A device tree.

    :param flat: the library's tree.
    :param name: what messages call it: a file's name.
    """

    def __init__(self, flat: fdt.FDT, name: str) -> None:
        self._flat = flat
        self.name = name
        self._phandles: dict[int, fdt.Node] = {}
        for node in self.nodes():
            number = first_cell(node, "phandle") or first_cell(node, "linux,phandle")
            if number is not None:
                self._phandles[number] = node

    @classmethod
    def new(cls) -> Tree:
        """Return a tree that has nothing but a root, with addresses and sizes of two cells."""
        flat = fdt.FDT(header=fdt.Header(), entries=[])
        flat.root.append(fdt.PropWords("#address-cells", 2))
        flat.root.append(fdt.PropWords("#size-cells", 2))
        return cls(flat, "the new tree")

    @classmethod
    def parse(cls, blob: bytes, name: str) -> Tree:
        """Return the tree that a DTB holds.

        :param name: of the file that it is from.
        :raise BadFileError: when it is no DTB, or a damaged one.
        """
        if blob.lstrip().startswith(b"/dts-v1/"):
            raise BadFileError(name, "source text; compile it: dtc -@ -O dtb -o BASE.dtb FILE")
        if not blob.startswith(_MAGIC):
            raise BadFileError(
                name, f"begins with [{blob[:4].hex(' ')}], expected a DTB: d0 0d fe ed"
            )
        if len(blob) > _MAX_BYTES:
            raise BadFileError(name, f"{len(blob)} bytes, expected a DTB of at most {_MAX_BYTES}")
        try:
            flat = fdt.parse_dtb(_without_nops(blob))
        # The library has no errors of its own: what is damaged ends in any kind of them.
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise BadFileError(name, f"a damaged device tree: {reason}") from error
        # It gives the same list of reserved memory to each tree that it parses.
        shared = flat.entries
        flat.entries = list(shared)
        shared.clear()
        if flat.root is None or flat.root.name != "/":
            raise BadFileError(name, "a device tree without a root")
        if any(depth > _MAX_DEPTH for depth, _ in _walk(flat.root)):
            raise BadFileError(name, f"nodes nested deeper than {_MAX_DEPTH}")
        for _, node in _walk(flat.root):
            if not _NAME.fullmatch(node.name):
                raise BadFileError(name, f"a damaged device tree: a node's name is {node.name!r}")
        return cls(flat, name)

    @property
    def root(self) -> fdt.Node:
        """The root node."""
        return self._flat.root

    def nodes(self) -> Iterator[fdt.Node]:
        """Yield every node, the root first."""
        return (node for _, node in _walk(self.root))

    def find(self, target: str) -> fdt.Node:
        """Return a node.

        :param target: its path, which begins with a slash, or its label.
        :raise PlacementError: when there is none.
        """
        if not target.startswith("/"):
            target = self._path_of_label(target)
        node = self.root
        for name in filter(None, target.split("/")):
            found = node.get_subnode(name)
            if found is None:
                raise PlacementError(f"{self.name}: no node {target}{_similar(node, name)}")
            node = found
        return node

    def phandle(self, node: fdt.Node) -> int:
        """Return a node's phandle (C ``__u32``), and give it one if it has none."""
        for number, other in self._phandles.items():
            if other is node:
                return number
        number = max(self._phandles, default=0) + 1
        if number > _MAX_PHANDLE:
            numbers = range(1, len(self._phandles) + 2)
            number = next(number for number in numbers if number not in self._phandles)
        node.append(fdt.PropWords("phandle", number))
        self._phandles[number] = node
        return number

    def interrupt_parent(self, node: fdt.Node) -> fdt.Node | None:
        """Return the interrupt controller of a node's children, or None where none is named."""
        above: fdt.Node | None = node
        while above is not None:
            number = first_cell(above, "interrupt-parent")
            if number is not None:
                return self._phandles.get(number)
            above = above.parent
        return None

    def bus_address(self, bus: fdt.Node, address: int, size: int) -> int:
        """Return what a bus calls an address of the CPU's.

        :param bus: a node that has addresses.
        :param address: guest-physical (C ``gpa_t``).
        :param size: how many bytes from there have to be on the bus.
        :raise PlacementError: when they are not.
        """
        if bus is self.root:
            return address
        upper = self.bus_address(bus.parent, address, size)
        ranges = bus.get_property("ranges")
        path = path_of(bus)
        if ranges is None:
            raise PlacementError(f"{self.name}: {path} has no ranges: nothing on it has an address")
        windows = self._windows(bus, cells_of(ranges))
        if not windows:  # an empty property: all of it, one to one
            return upper
        for child, parent, length in windows:
            if parent <= upper and upper + size <= parent + length:
                return upper - parent + child
        shown = ", ".join(f"{start:#x}..{start + length - 1:#x}" for _, start, length in windows)
        raise PlacementError(
            f"{self.name}: {path} has no room for {size:#x} bytes at {address:#x}: it has {shown}"
        )

    def widths(self, bus: fdt.Node) -> tuple[int, int]:
        """Return how many cells an address and a size have on a bus, 1 or 2 each.

        :raise PlacementError: when the node says neither, or others.
        """
        found = []
        for name in ("#address-cells", "#size-cells"):
            count = first_cell(bus, name)
            if count is None:
                raise PlacementError(f"{self.name}: {path_of(bus)} is no bus: it has no {name}")
            if count not in (1, 2):
                raise PlacementError(
                    f"{self.name}: {path_of(bus)} has {name} = <{count}>, expected 1 or 2"
                )
            found.append(count)
        return found[0], found[1]

    def to_dtb(self) -> bytes:
        """Return the flattened tree."""
        header = self._flat.header
        header.version = _VERSION
        header.last_comp_version = _COMPATIBLE_VERSION
        blob: bytes = self._flat.to_dtb()
        return blob

    def to_dts(self) -> str:
        """Return the tree's source text."""
        lines = ["/dts-v1/;"]
        for entry in self._flat.entries:
            lines.append(f"/memreserve/ {entry['address']:#x} {entry['size']:#x};")
        lines += ["", *_source(self.root, "")]
        return "\n".join(lines) + "\n"

    def _path_of_label(self, label: str) -> str:
        symbols = self.root.get_subnode("__symbols__")
        if symbols is None:
            raise PlacementError(
                f"{self.name}: no label {label}: the tree was made without __symbols__ (dtc -@); "
                "name the node by its path, as &{/intc@8000000}"
            )
        path = symbols.get_property(label)
        if not isinstance(path, fdt.PropStrings):
            raise PlacementError(f"{self.name}: no label {label}")
        return str(path.value)

    def _windows(self, bus: fdt.Node, cells: list[int]) -> list[tuple[int, int, int]]:
        """Return a bus's ranges: address on the bus, address above, length."""
        own, size = self.widths(bus)
        above, _ = self.widths(bus.parent)
        step = own + above + size
        if len(cells) % step:
            raise PlacementError(
                f"{self.name}: {path_of(bus)} has ranges of {len(cells)} cells, "
                f"expected a multiple of {step}"
            )
        entries = (cells[start : start + step] for start in range(0, len(cells), step))
        return [
            (joined(entry[:own]), joined(entry[own : own + above]), joined(entry[own + above :]))
            for entry in entries
        ]


def path_of(node: fdt.Node) -> str:
    """Return a node's path."""
    if node.name == "/":
        return "/"
    return f"{str(node.path).rstrip('/')}/{node.name}"


def cells_of(item: fdt.Property | None) -> list[int]:
    """Return a property's value as cells (C ``__u32`` each); an odd rest is left out."""
    data = _data_of(item)
    count = len(data) // 4
    return list(struct.unpack(f">{count}I", data[: count * 4]))


def first_cell(node: fdt.Node, name: str) -> int | None:
    """Return the first cell (C ``__u32``) of a node's property, or None where it has none."""
    cells = cells_of(node.get_property(name))
    return cells[0] if cells else None


def strings_of(node: fdt.Node, name: str) -> list[str]:
    """Return the strings of a node's property, or none."""
    item = node.get_property(name)
    return list(item.data) if isinstance(item, fdt.PropStrings) else []


def joined(cells: list[int]) -> int:
    """Return the number that one or more cells are."""
    number = 0
    for cell in cells:
        number = number << CELL_BITS | cell
    return number


def _part_of(item: fdt.Property) -> Part | None:
    if isinstance(item, fdt.PropStrings):
        return Strings(tuple(text.encode("ascii") for text in item.data))
    if isinstance(item, fdt.PropWords):
        return Cells(tuple(item.data))
    if isinstance(item, fdt.PropBytes):
        return Bytes(bytes(item.data))
    return None


def _data_of(item: fdt.Property | None) -> bytes:
    match None if item is None else _part_of(item):
        case Strings(values):
            return b"".join(value + b"\0" for value in values)
        case Cells(values):
            return b"".join(struct.pack(">I", value) for value in values)
        case Bytes(data):
            return data
    return b""


def _source(node: fdt.Node, indent: str) -> Iterator[str]:
    """Yield the lines of a node. The library's own text does not escape backslashes."""
    yield f"{indent}{node.name} {{"
    for item in node.props:
        part = _part_of(item)
        yield f"{indent}\t{item.name}{f' = {unparse_value([part])}' if part else ''};"
    for child in node.nodes:
        yield ""
        yield from _source(child, indent + "\t")
    yield f"{indent}}};"


def _walk(root: fdt.Node) -> Iterator[tuple[int, fdt.Node]]:
    """Yield every node with its depth."""
    rest = [(0, root)]
    while rest:
        depth, node = rest.pop()
        yield depth, node
        rest += [(depth + 1, child) for child in node.nodes]


def _similar(node: fdt.Node, name: str) -> str:
    """Return a hint at the child of that name with another unit address, or none."""
    stem = name.partition("@")[0]
    names = [child.name for child in node.nodes if child.name.partition("@")[0] == stem]
    return f"; there is {', '.join(names[:4])}" if names else ""


def _without_nops(blob: bytes) -> bytes:
    """Return a DTB without FDT_NOP: QEMU leaves some, and the library knows none."""
    start, _, _, version = struct.unpack_from(">4I", blob, 8)
    if version < _COMPATIBLE_VERSION:
        raise ValueError(f"version {version}, expected {_COMPATIBLE_VERSION} or newer")
    content = bytearray()
    at = start
    while True:
        (token,) = struct.unpack_from(">I", blob, at)
        end = at + 4
        if token == fdt.DTB_BEGIN_NODE:
            end += len(blob[end:].partition(b"\0")[0]) + 1
        elif token == fdt.DTB_PROP:
            end += 8 + struct.unpack_from(">I", blob, end)[0]
        end += (start - end) % 4
        if end > len(blob):
            raise ValueError("it is cut off")
        if token != fdt.DTB_NOP:
            content += blob[at:end]
        if token == fdt.DTB_END:
            break
        at = end
    return blob[:start] + bytes(content) + blob[start + len(content) :]
