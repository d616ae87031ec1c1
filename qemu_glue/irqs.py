# SPDX-License-Identifier: GPL-2.0-or-later
"""Which interrupts of a machine QEMU's own devices have.

QEMU tells no list of them: ``info irq`` counts, and ``info pic`` shows what the
guest has set up. ISA devices name theirs as a property (``irq = 4``). The rest is
wired by the machine and is known here by the type of the device that it belongs
to; PCI's lines count as taken once a device has a pin to raise.

Source: hw/i386/{pc,pc_piix,pc_q35,microvm}.c, hw/isa/{piix3,lpc_ich9}.c of QEMU.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qemu_glue.qtree import QtreeDevice

# Properties of an ISA device that are an interrupt's number.
_PROPERTIES = ("irq", "kbd-irq", "mouse-irq")

# What the machine wires, by the type of the device.
_WIRED: Mapping[str, tuple[int, ...]] = {
    "isa-pit": (0,),
    "kvm-pit": (0,),
    "isa-i8259": (2,),
    "kvm-i8259": (2,),
    "PIIX4_PM": (9,),
    "ICH9-LPC": (9,),
    "acpi-ged-x86": (9,),
    "acpi-ged": (9,),
    "piix3-ide": (14, 15),
    "piix4-ide": (14, 15),
}
# PCI's lines, by the type of the host bridge.
_PCI: Mapping[str, tuple[int, ...]] = {
    "q35-pcihost": tuple(range(16, 24)),
    "i440FX-pcihost": (10, 11),
}
_MICROVM_TRANSPORT = "virtio-mmio"
_MICROVM_PCI = "gpex-pcihost"
_MICROVM_USB = "sysbus-xhci"
_MICROVM_USB_IRQ = 10


def irqs_in_use(devices: Sequence[QtreeDevice], pci: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    """Return whose each interrupt is, by gsi (C ``__u32``).

    :param devices: of ``info qtree``.
    :param pci: QMP's ``query-pci``.
    """
    found: dict[int, str] = {}
    for device in devices:
        for gsi in _WIRED.get(device.type, ()):
            found.setdefault(gsi, device.name)
        for name in _PROPERTIES:
            if name in device.numbers:
                found.setdefault(device.numbers[name], device.name)
    for gsi, owner in (*_pci_lines(devices, pci), *_microvm_lines(devices)):
        found.setdefault(gsi, owner)
    return found


def _pci_lines(
    devices: Iterable[QtreeDevice], pci: Iterable[Mapping[str, Any]]
) -> list[tuple[int, str]]:
    raising = [one for bus in pci for one in _pci_devices(bus) if one.get("irq_pin")]
    if not raising:
        return []
    first = raising[0]
    described = first.get("qdev_id") or first.get("class_info", {}).get("desc") or "a device"
    return [
        (gsi, f"PCI ({described} and others)" if len(raising) > 1 else f"PCI ({described})")
        for device in devices
        for gsi in _PCI.get(device.type, ())
    ]


def _pci_devices(bus: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the devices of a bus and of all buses behind it."""
    found: list[Mapping[str, Any]] = []
    for device in bus.get("devices", ()):
        found.append(device)
        found += _pci_devices(device.get("pci_bridge", {}))
    return found


def _microvm_lines(devices: Sequence[QtreeDevice]) -> list[tuple[int, str]]:
    """Return microvm's lines, which depend on its ACPI and its number of IO-APICs."""
    types = [device.type for device in devices]
    if _MICROVM_TRANSPORT not in types or any(name in types for name in _PCI):
        return []
    count = types.count(_MICROVM_TRANSPORT)
    acpi = "acpi-ged-x86" in types or "acpi-ged" in types  # 7.2, and 10.0
    if count > 8:  # a second IO-APIC
        virtio, bridge = 24, 16
    else:
        virtio, bridge = (16, 12) if acpi else (5, 12)
    lines = [(virtio + index, _MICROVM_TRANSPORT) for index in range(count)]
    if _MICROVM_PCI in types:
        lines += [(bridge + index, "PCI") for index in range(4)]
    if _MICROVM_USB in types:
        lines.append((_MICROVM_USB_IRQ, _MICROVM_USB))
    return lines
