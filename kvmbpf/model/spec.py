# SPDX-License-Identifier: GPL-2.0-or-later
"""What a device is, as its object file says it.

A `DeviceSpec` is read from an object (`kvmbpf.model.objfile`), placed in a guest
(`kvmbpf.model.placement`) and told to the guest's firmware (`kvmbpf.model.firmware`). It
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
    :param read_program: name of the struct_ops program that answers reads.
    :param write_program: name of the struct_ops program that answers writes.
    :param call_read_program: name of the syscall program that answers reads where
        the kernel has no struct_ops type for devices; empty when there is none.
    :param call_write_program: the same for writes.
    :param base: guest-physical address or first port (C ``__u64``) where it must
        be; None to have it where there is room.
    """

    index: int
    bus: Bus
    size: int
    read_program: str
    write_program: str
    call_read_program: str = ""
    call_write_program: str = ""
    base: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the region as a dictionary that `json.dumps` takes."""
        return {
            "index": self.index,
            "bus": self.bus.name.lower(),
            "size": self.size,
            "base": self.base,
            "read_program": self.read_program,
            "write_program": self.write_program,
            "call_read_program": self.call_read_program,
            "call_write_program": self.call_write_program,
        }


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
    :param value: device-tree source text, as ``<1843200>`` or ``"okay"``; empty
        for a property that is only there.
    """

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """A whole device.

    :param name: an identifier of at most 31 characters.
    :param compatible: what the guest's driver binds to, as ``kvmbpf,demo``; one or
        more, the most specific first.
    :param version: of the state's schema (C ``__u32``), 1 and up.
    :param regions: one to eight, in the order of their index.
    :param irqs: up to 32, in the order of their index.
    :param properties: for the guest's firmware description.
    :param resets: it has programs that run when the guest is reset.
    :param concurrent: its programs take accesses of several vCPUs at once; else
        they are called one at a time.
    """

    name: str
    compatible: tuple[str, ...]
    version: int
    regions: tuple[RegionSpec, ...]
    irqs: tuple[IrqSpec, ...] = ()
    properties: tuple[PropertySpec, ...] = ()
    resets: bool = False
    concurrent: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the spec as a dictionary that `json.dumps` takes."""
        return {
            "name": self.name,
            "compatible": list(self.compatible),
            "version": self.version,
            "resets": self.resets,
            "concurrent": self.concurrent,
            "regions": [region.to_json() for region in self.regions],
            "irqs": [{"index": irq.index, "trigger": irq.trigger.value} for irq in self.irqs],
            "properties": [{"name": item.name, "value": item.value} for item in self.properties],
        }
