# SPDX-License-Identifier: GPL-2.0-or-later
"""What a device is, as its object file says it.

A `DeviceSpec` is read from an object (`kvmbpf.objfile`), placed in a guest
(`kvmbpf.placement`) and told to the guest's firmware (`kvmbpf.firmware`). It
knows nothing of where it came from and needs no privilege.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any


class Bus(enum.IntEnum):
    """The bus that a region is on; the number is the kernel's KVM_BPF_BUS_* (``__u32``)."""

    MMIO = 0
    PIO = 1


class Trigger(enum.Enum):
    """How an interrupt is signalled."""

    EDGE = "edge"
    LEVEL = "level"


@dataclass(frozen=True, slots=True)
class RegionSpec:
    """One region of registers.

    :param index: its index in the device (C ``__u32``, 0 to 7).
    :param bus: the bus that it is on.
    :param size: in bytes (C ``__u64``), not 0; on PIO ports, at most 65,536.
    :param read_program: name of the BPF program that answers reads.
    :param write_program: name of the BPF program that answers writes.
    """

    index: int
    bus: Bus
    size: int
    read_program: str
    write_program: str


@dataclass(frozen=True, slots=True)
class IrqSpec:
    """One interrupt.

    :param index: its index in the device (C ``__u32``, 0 to 31).
    :param trigger: edge or level.
    """

    index: int
    trigger: Trigger = Trigger.EDGE


@dataclass(frozen=True, slots=True)
class PropertySpec:
    """One property for the guest's firmware description.

    :param name: as in ``clock-frequency``.
    :param value: a number (C ``__u32``) or a string.
    """

    name: str
    value: int | str


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """A whole device.

    :param name: an identifier of at most 31 characters.
    :param compatible: what the guest's driver binds to, as ``kvmbpf,demo``.
    :param version: of the state's schema (C ``__u32``), 1 and up.
    :param regions: one to eight, in the order of their index.
    :param irqs: up to 32, in the order of their index.
    :param properties: for the guest's firmware description.
    """

    name: str
    compatible: str
    version: int
    regions: tuple[RegionSpec, ...]
    irqs: tuple[IrqSpec, ...] = ()
    properties: tuple[PropertySpec, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the spec as a dictionary that `json.dumps` takes."""
        return {
            "name": self.name,
            "compatible": self.compatible,
            "version": self.version,
            "regions": [
                {
                    "index": region.index,
                    "bus": region.bus.name.lower(),
                    "size": region.size,
                    "read_program": region.read_program,
                    "write_program": region.write_program,
                }
                for region in self.regions
            ],
            "irqs": [{"index": irq.index, "trigger": irq.trigger.value} for irq in self.irqs],
            "properties": [{"name": item.name, "value": item.value} for item in self.properties],
        }
