# SPDX-License-Identifier: GPL-2.0-or-later
"""Interrupts of devices, in the form that a device tree's controller wants.

A gsi is the number of a shared peripheral interrupt (SPI) to an Arm GIC, which
is what it is to KVM there, and the number of a pin to an IO-APIC.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import fdt

from kvmbpf.errors import PlacementError
from kvmbpf.model.firmware.tree import Tree, cells_of, first_cell, path_of, strings_of
from kvmbpf.model.placement import Placed
from kvmbpf.model.spec import Trigger

# Source: Documentation/devicetree/bindings/interrupt-controller/arm,gic.yaml and
# arm,gic-v3.yaml (v6.12).
_GIC_SPI = 0
_MAX_SPI = 987
# Rising edge and active high. Source: include/dt-bindings/interrupt-controller/irq.h.
_FLAGS = {Trigger.EDGE: 1, Trigger.LEVEL: 4}
# The IO-APIC counts for itself. Source: of_ioapic_type in arch/x86/kernel/devicetree.c.
_IO_APIC_TYPES = {Trigger.EDGE: 3, Trigger.LEVEL: 1}


class _Form(enum.Enum):
    """How an interrupt is told."""

    GIC = enum.auto()
    IO_APIC = enum.auto()
    NUMBER_AND_FLAGS = enum.auto()


@dataclass(frozen=True, slots=True)
class Controller:
    """An interrupt controller of a tree.

    :param tree: the tree.
    :param node: its node there.
    :param form: how it wants an interrupt to be told.
    """

    tree: Tree
    node: fdt.Node
    form: _Form

    @classmethod
    def find(cls, tree: Tree, bus: fdt.Node, target: str | None) -> Controller:
        """Return the controller of a bus's devices.

        :param target: its path or label; None for the one that the tree names.
        :raise PlacementError: when there is none, or of a kind that is not known.
        """
        node = tree.interrupt_parent(bus) if target is None else tree.find(target)
        if node is None:
            raise PlacementError(
                f"{tree.name}: no interrupt controller applies to {path_of(bus)}; "
                "name one (--interrupt-parent)"
            )
        count = first_cell(node, "#interrupt-cells")
        if count is None or node.get_property("interrupt-controller") is None:
            raise PlacementError(f"{tree.name}: {path_of(node)} is no interrupt controller")
        return cls(tree, node, cls._form(tree, node, count))

    @staticmethod
    def _form(tree: Tree, node: fdt.Node, count: int) -> _Form:
        compatible = strings_of(node, "compatible")
        if count == 3 and any("gic" in name for name in compatible):
            return _Form.GIC
        if count == 2:
            io_apic = any(name.endswith("ioapic") for name in compatible)
            return _Form.IO_APIC if io_apic else _Form.NUMBER_AND_FLAGS
        raise PlacementError(
            f"{tree.name}: {path_of(node)} ({', '.join(compatible)}) wants {count} cells an "
            "interrupt; kvmbpf knows the 3 of a GIC and the 2 of others (number, flags)"
        )

    def cells(self, device: Placed) -> list[int]:
        """Return the value of a device's ``interrupts`` (C ``__u32`` each).

        :raise PlacementError: when the controller has no such interrupt, or another
            node of the tree has it.
        """
        cells: list[int] = []
        for gsi, irq in zip(device.irqs, device.spec.irqs, strict=True):
            what = f"{self.tree.name}: device {device.spec.name}: irq {irq.index}"
            if self.form is _Form.GIC and gsi > _MAX_SPI:
                raise PlacementError(f"{what}: gsi {gsi}: a GIC has SPI 0 to {_MAX_SPI}")
            told = self._told(gsi, irq.trigger)
            other = self._user_of(told)
            if other is not None:
                raise PlacementError(f"{what}: gsi {gsi} is taken by {path_of(other)}")
            cells += told
        return cells

    def _told(self, gsi: int, trigger: Trigger) -> list[int]:
        match self.form:
            case _Form.GIC:
                return [_GIC_SPI, gsi, _FLAGS[trigger]]
            case _Form.IO_APIC:
                return [gsi, _IO_APIC_TYPES[trigger]]
            case _Form.NUMBER_AND_FLAGS:
                return [gsi, _FLAGS[trigger]]

    def _user_of(self, told: list[int]) -> fdt.Node | None:
        """Return the node that has the interrupt already, whatever its flags."""
        step = len(told)
        for node in self.tree.nodes():
            cells = cells_of(node.get_property("interrupts"))
            numbers = [cells[at : at + step - 1] for at in range(0, len(cells), step)]
            if told[:-1] in numbers and self.tree.interrupt_parent(node) is self.node:
                return node
        return None
