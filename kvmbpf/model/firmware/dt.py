# SPDX-License-Identifier: GPL-2.0-or-later
"""Placed devices as nodes of a device tree.

By themselves they make a fragment for QEMU's ``-dtb`` on x86: a root, and a
``simple-bus`` with one node a device. A guest kernel with CONFIG_OF needs no more,
ACPI stays in charge of the rest. There is no interrupt controller to refer to,
so the nodes have no interrupts, and no property may refer to a node.

Merged into a base, the tree that a machine has, they make that machine's tree: on
arm64 what ``qemu-system-aarch64 -M virt,dumpdtb=FILE`` writes. A node's addresses
are then those of its parent, its interrupts in the form of the controller there,
and references in its properties are phandles of nodes of the base.

A device with ports goes under a node ``isa@0``, whose addresses say which of the
two spaces they are in; its memory must lie below 4 GiB.
Source: of_bus_isa_* in drivers/of/address.c (v6.12), IEEE 1275's ISA binding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import fdt

from kvmbpf.errors import PlacementError
from kvmbpf.model.dts import (
    Cells,
    DtsError,
    Part,
    Reference,
    Strings,
    check_property_name,
    encode_value,
    parse_value,
)
from kvmbpf.model.firmware.interrupts import Controller
from kvmbpf.model.firmware.tree import Tree, cells_of, joined, path_of, strings_of
from kvmbpf.model.placement import PORT_END, Placed
from kvmbpf.model.spec import Bus, DeviceSpec, PropertySpec

FRAGMENT_BUS = "kvmbpf-bus"
"""The node that devices are under in a fragment."""

_ISA_BUS = "isa@0"
# The first cell of an address on the ISA bus.
_ISA_SPACE = {Bus.MMIO: 0, Bus.PIO: 1}
# The library keeps properties of such a name to itself.
_LOST_SUFFIX = "_with_references"


@dataclass(frozen=True, slots=True)
class Base:
    """A tree that devices are merged into.

    :param blob: the DTB.
    :param name: of its file, for messages.
    :param parent: path or label of the bus that the devices go on; None for the bus
        below the root whose window a device is in, or else the root.
    :param interrupt_parent: path or label of their interrupt controller; None for
        the one that the parent names, or a node above it.
    """

    blob: bytes
    name: str
    parent: str | None = None
    interrupt_parent: str | None = None


def to_dtb(devices: Sequence[Placed], base: Base | None = None) -> bytes:
    """Return the flattened tree.

    :param devices: the placed devices of one guest, with distinct addresses.
    :param base: the tree to merge them into; None makes a fragment.
    :raise BadFileError: when the base is no DTB.
    :raise PlacementError: when a device cannot be told: its parent has no room for
        the address, or does not exist; the node exists, or its addresses are
        another's; a property refers to what is not there; no interrupt controller
        applies, or one of a kind that is not known; it has ports, and memory above 4 GiB.
    """
    return _tree(devices, base).to_dtb()


def to_dts(devices: Sequence[Placed], base: Base | None = None) -> str:
    """Return the tree's source text; arguments and errors as for `to_dtb`."""
    return _tree(devices, base).to_dts()


def _tree(devices: Sequence[Placed], base: Base | None) -> Tree:
    tree = Tree.new() if base is None else Tree.parse(base.blob, base.name)
    nodes = [_append(tree, _bus_of(tree, device, base), device, base) for device in devices]
    # References last: they may be to other devices.
    for device, node in zip(devices, nodes, strict=True):
        for item in device.spec.properties:
            node.append(_property(tree, device.spec, item, has_base=base is not None))
    return tree


def _bus_of(tree: Tree, device: Placed, base: Base | None) -> fdt.Node:
    """Return the node that a device's node goes under."""
    if any(region.bus is Bus.PIO for region in device.spec.regions):
        return _isa_bus(tree)
    if base is None:
        return _simple_bus(tree)
    if base.parent is None:
        # A window of the root's address space is a bus of its own, as QEMU's platform bus.
        return next((bus for bus in tree.root.nodes if _has_window(tree, bus, device)), tree.root)
    bus = tree.find(base.parent)
    if "isa" in strings_of(bus, "compatible"):
        raise PlacementError(
            f"{tree.name}: {path_of(bus)} is an ISA bus; kvmbpf makes one of its own where "
            "a device has ports"
        )
    return bus


def _has_window(tree: Tree, bus: fdt.Node, device: Placed) -> bool:
    """Tell whether a bus has a window of its own, and all of a device is in it."""
    if "simple-bus" not in strings_of(bus, "compatible") or not cells_of(
        bus.get_property("ranges")
    ):
        return False
    try:
        for base, region in zip(device.regions, device.spec.regions, strict=True):
            tree.bus_address(bus, base, region.size)
    except PlacementError:
        return False
    return True


def _simple_bus(tree: Tree) -> fdt.Node:
    """Return the bus of a fragment; made for the first device."""
    found = tree.root.get_subnode(FRAGMENT_BUS)
    if found is not None:
        return found
    bus = fdt.Node(FRAGMENT_BUS)
    bus.append(fdt.PropStrings("compatible", "simple-bus"))
    bus.append(fdt.PropWords("#address-cells", 2))
    bus.append(fdt.PropWords("#size-cells", 2))
    bus.append(fdt.Property("ranges"))  # empty: addresses are the root's
    tree.root.append(bus)
    return bus


def _append(tree: Tree, bus: fdt.Node, device: Placed, base: Base | None) -> fdt.Node:
    """Add a device's node, without the properties that are its author's."""
    ports = bus.name == _ISA_BUS
    unit, reg = _isa_reg(device) if ports else _reg(tree, bus, device)
    node = fdt.Node(f"{_node_name(device.spec)}@{unit}")
    if bus.get_subnode(node.name) is not None:
        raise PlacementError(f"{tree.name}: {path_of(bus)} has a node {node.name} already")
    if not ports:
        _check_free(tree, bus, device)
    node.append(fdt.PropStrings("compatible", *device.spec.compatible))
    node.append(fdt.PropWords("reg", *reg))
    if base is not None and device.irqs:
        controller = Controller.find(tree, bus, base.interrupt_parent)
        if tree.interrupt_parent(bus) is not controller.node:
            node.append(fdt.PropWords("interrupt-parent", tree.phandle(controller.node)))
        node.append(fdt.PropWords("interrupts", *controller.cells(device)))
    bus.append(node)
    return node


def _node_name(spec: DeviceSpec) -> str:
    """Return a name for the node: it begins with a letter, and has no underscores."""
    return spec.name.strip("_").replace("_", "-") or "device"


def _reg(tree: Tree, bus: fdt.Node, device: Placed) -> tuple[str, list[int]]:
    """Return the unit address and the reg of a device without ports."""
    widths = tree.widths(bus)
    first = None
    cells: list[int] = []
    for base, region in zip(device.regions, device.spec.regions, strict=True):
        address = tree.bus_address(bus, base, region.size)
        first = address if first is None else first
        what = f"device {device.spec.name}: region {region.index} at {base:#x}"
        for number, width, name in zip(
            (address, region.size), widths, ("address", "size"), strict=True
        ):
            if number >> 32 * width:
                raise PlacementError(
                    f"{tree.name}: {what}: its {name} {number:#x} does not fit into the "
                    f"{width * 32} bits that {path_of(bus)} has for it"
                )
            cells += [number >> 32, number & 0xFFFFFFFF][2 - width :]
    return f"{first:x}", cells


def _check_free(tree: Tree, bus: fdt.Node, device: Placed) -> None:
    """Refuse a place that another node of the bus has."""
    address_cells, size_cells = tree.widths(bus)
    step = address_cells + size_cells
    for other in bus.nodes:
        cells = cells_of(other.get_property("reg"))
        for at in range(0, len(cells) - step + 1, step):
            start = joined(cells[at : at + address_cells])
            end = start + joined(cells[at + address_cells : at + step])
            for gpa, region in zip(device.regions, device.spec.regions, strict=True):
                own = tree.bus_address(bus, gpa, region.size)
                if start < own + region.size and own < end:
                    raise PlacementError(
                        f"{tree.name}: device {device.spec.name}: region {region.index} at "
                        f"{gpa:#x} overlaps {path_of(other)}"
                    )


def _isa_bus(tree: Tree) -> fdt.Node:
    """Return the bus of the devices that have ports; made for the first of them."""
    found = tree.root.get_subnode(_ISA_BUS)
    ranges = _isa_ranges(tree.widths(tree.root)[0])
    if found is not None:
        if cells_of(found.get_property("ranges")) != ranges:
            raise PlacementError(f"{tree.name}: /{_ISA_BUS} is there already, and has other ranges")
        return found
    bus = fdt.Node(_ISA_BUS)
    bus.append(fdt.PropStrings("compatible", "isa"))
    bus.append(fdt.PropWords("#address-cells", 2))
    bus.append(fdt.PropWords("#size-cells", 1))
    bus.append(fdt.PropWords("ranges", *ranges))
    tree.root.append(bus)
    return bus


def _isa_ranges(width: int) -> list[int]:
    """Return what the ISA bus passes on to the root, one to one.

    That is <space address> <address> <size> for the ports, and for memory in two
    halves: a size has one cell there.
    """
    high = [0] * (width - 1)
    half = 1 << 31
    ports, memory = _ISA_SPACE[Bus.PIO], _ISA_SPACE[Bus.MMIO]
    return [
        *(ports, 0, *high, 0, PORT_END),
        *(memory, 0, *high, 0, half),
        *(memory, half, *high, half, half),
    ]


def _isa_reg(device: Placed) -> tuple[str, list[int]]:
    """Return the unit address and the reg of a device with ports."""
    cells: list[int] = []
    for base, region in zip(device.regions, device.spec.regions, strict=True):
        if base + region.size > 1 << 32:
            raise PlacementError(
                f"device {device.spec.name}: region {region.index} at {base:#x}: a device "
                "with ports needs its memory below 4 GiB in a device tree"
            )
        cells += [_ISA_SPACE[region.bus], base, region.size]
    # The old ISA binding puts an i before a port's; no tree in the kernel does.
    return f"{device.regions[0]:x}", cells


def _property(tree: Tree, spec: DeviceSpec, item: PropertySpec, *, has_base: bool) -> fdt.Property:
    what = f"device {spec.name}: property {item.name}"
    if item.name.endswith(_LOST_SUFFIX):
        raise PlacementError(f"{what}: a name that ends in {_LOST_SUFFIX} cannot be written")

    def phandle_of(reference: Reference) -> int:
        if not has_base:
            raise PlacementError(
                f"{what}: {reference} has no tree to be in; merge the device into a base (--base)"
            )
        try:
            return tree.phandle(tree.find(reference.target))
        except PlacementError as error:
            raise PlacementError(f"{what}: {reference}: {error}") from error

    try:
        check_property_name(item.name)
        value = parse_value(item.value)
    except DtsError as error:
        raise PlacementError(f"{what}: {error}") from error
    return _flat_property(item.name, value, encode_value(value, phandle_of))


def _flat_property(name: str, value: Sequence[Part], data: bytes) -> fdt.Property:
    """Return a property in the form that its source text is to have."""
    if not data:
        return fdt.Property(name)
    texts = [text for part in value if isinstance(part, Strings) for text in part.values]
    if all(isinstance(part, Strings) for part in value) and all(map(_is_plain, texts)):
        return fdt.PropStrings(name, *(text.decode("ascii") for text in texts))
    if all(isinstance(part, Cells) for part in value):
        return fdt.PropWords(name, *cells_of(fdt.PropBytes(name, data=data)))
    return fdt.PropBytes(name, data=data)


def _is_plain(text: bytes) -> bool:
    """Tell whether the library takes a string as such."""
    return bool(text) and all(0x20 <= byte < 0x7F for byte in text)
