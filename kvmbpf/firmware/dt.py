# SPDX-License-Identifier: GPL-2.0-or-later
"""Placed devices as a device tree, for QEMU's ``-dtb``.

The tree is a fragment: a root and a ``simple-bus`` with one node a device. On
x86 that is all that a guest kernel with CONFIG_OF needs; ACPI stays in charge
of the rest. A node has interrupts only where the caller names an interrupt
controller: on x86 with ACPI there is none that the tree could refer to.
"""

from __future__ import annotations

from collections.abc import Sequence

import fdt

from kvmbpf.placement import Placed
from kvmbpf.spec import Trigger

_DTB_VERSION = 17
_DTB_COMPATIBLE_VERSION = 16

# The two-cell form <number flags> that most controllers take.
# Source: include/dt-bindings/interrupt-controller/irq.h (v6.12).
_IRQ_FLAGS = {Trigger.EDGE: 1, Trigger.LEVEL: 4}


def to_dtb(devices: Sequence[Placed], interrupt_parent: int | None = None) -> bytes:
    """Return the flattened tree.

    :param devices: the placed devices of one guest, with distinct addresses.
    :param interrupt_parent: phandle (C ``u32``) of an interrupt controller that
        takes ``<gsi flags>``, in the tree that this one is merged into; or None
        to leave interrupts out.
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
        bus.append(_node(device, interrupt_parent))
    tree.root.append(bus)
    return tree


def _header() -> fdt.Header:
    header = fdt.Header()
    header.version = _DTB_VERSION
    header.last_comp_version = _DTB_COMPATIBLE_VERSION
    return header


def _cells(node: fdt.Node) -> None:
    node.append(fdt.PropWords("#address-cells", 2))
    node.append(fdt.PropWords("#size-cells", 2))


def _node(device: Placed, interrupt_parent: int | None) -> fdt.Node:
    spec = device.spec
    node = fdt.Node(f"{spec.name}@{device.regions[0]:x}")
    node.append(fdt.PropStrings("compatible", spec.compatible))
    reg: list[int] = []
    for gpa, region in zip(device.regions, spec.regions, strict=True):
        reg += [*_two_cells(gpa), *_two_cells(region.size)]
    node.append(fdt.PropWords("reg", *reg))
    if interrupt_parent is not None and spec.irqs:
        node.append(fdt.PropWords("interrupt-parent", interrupt_parent))
        cells: list[int] = []
        for gsi, irq in zip(device.irqs, spec.irqs, strict=True):
            cells += [gsi, _IRQ_FLAGS[irq.trigger]]
        node.append(fdt.PropWords("interrupts", *cells))
    for item in spec.properties:
        kind = fdt.PropStrings if isinstance(item.value, str) else fdt.PropWords
        node.append(kind(item.name, item.value))
    return node


def _two_cells(value: int) -> tuple[int, int]:
    return value >> 32, value & 0xFFFFFFFF
