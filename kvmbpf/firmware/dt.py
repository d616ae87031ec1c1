# SPDX-License-Identifier: GPL-2.0-or-later
"""Placed devices as a device tree, for QEMU's ``-dtb``.

The tree is a fragment: a root and a ``simple-bus`` with one node a device. On
x86 that is all that a guest kernel with CONFIG_OF needs; ACPI stays in charge
of the rest. A node has interrupts only where the caller names an interrupt
controller: on x86 with ACPI there is none that the tree could refer to.

A device with ports goes under a node ``isa@0``, whose addresses say which of the
two spaces they are in; its memory must lie below 4 GiB.
Source: of_bus_isa_* in drivers/of/address.c (v6.12), IEEE 1275's ISA binding.
"""

from __future__ import annotations

from collections.abc import Sequence

import fdt

from kvmbpf.errors import PlacementError
from kvmbpf.firmware.values import simple_value
from kvmbpf.placement import PORT_END, Placed
from kvmbpf.spec import Bus, Trigger

_DTB_VERSION = 17
_DTB_COMPATIBLE_VERSION = 16

# The two-cell form <number flags> that most controllers take.
# Source: include/dt-bindings/interrupt-controller/irq.h (v6.12).
_IRQ_FLAGS = {Trigger.EDGE: 1, Trigger.LEVEL: 4}


# The first cell of an address on the ISA bus.
_ISA_SPACE = {Bus.MMIO: 0, Bus.PIO: 1}
# What the ISA bus passes on to the root, one to one: <space address> <address> <size>.
# A size has one cell there, so memory comes in two halves.
_ISA_RANGES = (
    *(_ISA_SPACE[Bus.PIO], 0, 0, 0, PORT_END),
    *(_ISA_SPACE[Bus.MMIO], 0, 0, 0, 1 << 31),
    *(_ISA_SPACE[Bus.MMIO], 1 << 31, 0, 1 << 31, 1 << 31),
)


def to_dtb(devices: Sequence[Placed], interrupt_parent: int | None = None) -> bytes:
    """Return the flattened tree.

    :param devices: the placed devices of one guest, with distinct addresses.
    :param interrupt_parent: phandle (C ``u32``) of an interrupt controller that
        takes ``<gsi flags>``, in the tree that this one is merged into; or None
        to leave interrupts out.
    :raise PlacementError: when a device with ports has memory above 4 GiB.
    """
    blob: bytes = _tree(devices, interrupt_parent).to_dtb()
    return blob


def to_dts(devices: Sequence[Placed], interrupt_parent: int | None = None) -> str:
    """Return the tree's source text; arguments as for `to_dtb`."""
    text: str = _tree(devices, interrupt_parent).to_dts()
    return text


def _tree(devices: Sequence[Placed], interrupt_parent: int | None) -> fdt.FDT:
    tree = fdt.FDT(header=_header(), entries=[])
    _cells(tree.root)
    bus = fdt.Node("kvmbpf")
    bus.append(fdt.PropStrings("compatible", "simple-bus"))
    _cells(bus)
    bus.append(fdt.Property("ranges"))  # empty: addresses are the root's
    for device in devices:
        if not _has_ports(device):
            bus.append(_node(device, _reg(device), interrupt_parent))
    tree.root.append(bus)
    if any(_has_ports(device) for device in devices):
        tree.root.append(_isa_bus(devices, interrupt_parent))
    return tree


def _isa_bus(devices: Sequence[Placed], interrupt_parent: int | None) -> fdt.Node:
    """Return the bus of the devices that have ports."""
    bus = fdt.Node("isa@0")
    bus.append(fdt.PropStrings("compatible", "isa"))
    _cells(bus, size_cells=1)
    bus.append(fdt.PropWords("ranges", *_ISA_RANGES))
    for device in devices:
        if _has_ports(device):
            bus.append(_node(device, _isa_reg(device), interrupt_parent))
    return bus


def _has_ports(device: Placed) -> bool:
    return any(region.bus is Bus.PIO for region in device.spec.regions)


def _header() -> fdt.Header:
    header = fdt.Header()
    header.version = _DTB_VERSION
    header.last_comp_version = _DTB_COMPATIBLE_VERSION
    return header


def _cells(node: fdt.Node, size_cells: int = 2) -> None:
    node.append(fdt.PropWords("#address-cells", 2))
    node.append(fdt.PropWords("#size-cells", size_cells))


def _node(device: Placed, reg: list[int], interrupt_parent: int | None) -> fdt.Node:
    spec = device.spec
    # A port's unit address has an i before it, by the ISA binding.
    space = "i" if spec.regions[0].bus is Bus.PIO else ""
    node = fdt.Node(f"{spec.name}@{space}{device.regions[0]:x}")
    node.append(fdt.PropStrings("compatible", *spec.compatible))
    node.append(fdt.PropWords("reg", *reg))
    if interrupt_parent is not None and spec.irqs:
        node.append(fdt.PropWords("interrupt-parent", interrupt_parent))
        cells: list[int] = []
        for gsi, irq in zip(device.irqs, spec.irqs, strict=True):
            cells += [gsi, _IRQ_FLAGS[irq.trigger]]
        node.append(fdt.PropWords("interrupts", *cells))
    for item in spec.properties:
        value = simple_value(item)
        kind = fdt.PropStrings if isinstance(value, str) else fdt.PropWords
        node.append(kind(item.name, value))
    return node


def _reg(device: Placed) -> list[int]:
    cells: list[int] = []
    for gpa, region in zip(device.regions, device.spec.regions, strict=True):
        cells += [*_two_cells(gpa), *_two_cells(region.size)]
    return cells


def _isa_reg(device: Placed) -> list[int]:
    cells: list[int] = []
    for base, region in zip(device.regions, device.spec.regions, strict=True):
        if base + region.size > 1 << 32:
            raise PlacementError(
                f"device {device.spec.name}: region {region.index} at {base:#x}: a device "
                "with ports needs its memory below 4 GiB in a device tree"
            )
        cells += [_ISA_SPACE[region.bus], base, region.size]
    return cells


def _two_cells(value: int) -> tuple[int, int]:
    return value >> 32, value & 0xFFFFFFFF
