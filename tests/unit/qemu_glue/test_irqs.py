# SPDX-License-Identifier: GPL-2.0-or-later
"""`info qtree`, and whose each interrupt is: recorded texts of QEMU 7.2, 10.0 and 11.1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qemu_glue.irqs import irqs_in_use
from qemu_glue.qtree import QtreeDevice, parse_qtree

pytestmark = pytest.mark.unit
DATA = Path(__file__).parent / "data"

TREE = """\
bus: main-system-bus
  type System
  dev: hpet, id ""
    gpio-out "sysbus-irq" 32
    timers = 3 (0x3)
    hpet-intcap = 16711940 (0xff0104)
    msi = false
  dev: i440FX-pcihost, id ""
    bus: pci.0
      type PCI
      dev: PIIX3, id ""
        addr = 01.0
        bus: isa.0
          type ISA
          dev: isa-serial, id "my "console", two"
            index = 4294967295 (0xffffffff)
            irq = 4 (0x4)
            wakeup = 0 (0x0)
"""


def devices(name: str) -> tuple[QtreeDevice, ...]:
    return parse_qtree((DATA / f"{name}.qtree.txt").read_text())


def pci(*devices: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"bus": 0, "devices": list(devices)}]


SATA = {"class_info": {"desc": "SATA controller"}, "irq_pin": 1, "qdev_id": ""}
NET = {"class_info": {"desc": "Ethernet controller"}, "irq_pin": 1, "qdev_id": "net0"}
BRIDGE = {"class_info": {"desc": "Host bridge"}, "irq_pin": 0, "qdev_id": ""}


def test_devices_ids_and_numbers_are_read() -> None:
    found = parse_qtree(TREE)
    assert [device.name for device in found] == [
        "hpet",
        "i440FX-pcihost",
        "PIIX3",
        'isa-serial my "console", two',
    ]
    assert found[0].numbers == {"timers": 3, "hpet-intcap": 16711940}
    assert found[1].numbers == {}
    assert found[3].numbers["irq"] == 4
    assert parse_qtree(TREE.replace("\n", "\r\n")) == found
    assert parse_qtree("") == ()


def owners(name: str, *raising: dict[str, Any]) -> dict[int, str]:
    return irqs_in_use(devices(name), pci(BRIDGE, *raising))


ISA = {0: "isa-pit", 1: "i8042", 2: "isa-i8259", 8: "mc146818rtc", 12: "i8042"}
KVM = ISA | {0: "kvm-pit", 2: "kvm-i8259"}


@pytest.mark.parametrize(
    ("name", "raising", "expected"),
    [
        (
            "7.2-pc",
            [NET],
            ISA
            | {4: "isa-serial", 6: "isa-fdc", 7: "isa-parallel", 9: "PIIX4_PM"}
            | {10: "PCI (net0)", 11: "PCI (net0)", 14: "piix3-ide", 15: "piix3-ide"},
        ),
        (
            "10.0-pc-kvm",
            [],
            KVM | {6: "isa-fdc", 9: "PIIX4_PM", 14: "piix3-ide", 15: "piix3-ide"},
        ),
        (
            "7.2-q35-kvm",
            [SATA, NET],
            KVM
            | {3: "isa-serial", 4: "isa-serial", 9: "ICH9-LPC"}
            | dict.fromkeys(range(16, 24), "PCI (SATA controller and others)"),
        ),
        (
            "10.0-q35",
            [SATA],
            ISA
            | {4: "isa-serial", 7: "isa-parallel", 9: "ICH9-LPC"}
            | dict.fromkeys(range(16, 24), "PCI (SATA controller)"),
        ),
        (
            "11.1-pc-kvm",
            [],
            KVM
            | {4: "isa-serial", 6: "isa-fdc", 7: "isa-parallel", 9: "PIIX4_PM"}
            | {14: "piix3-ide", 15: "piix3-ide"},
        ),
        (
            "11.1-q35",
            [SATA],
            ISA
            | {4: "isa-serial", 7: "isa-parallel", 9: "ICH9-LPC"}
            | dict.fromkeys(range(16, 24), "PCI (SATA controller)"),
        ),
        (
            "7.2-microvm",
            [],
            {0: "isa-pit", 2: "isa-i8259", 4: "isa-serial", 8: "mc146818rtc", 9: "acpi-ged-x86"}
            | dict.fromkeys(range(24, 48), "virtio-mmio"),
        ),
        (
            "10.0-microvm",
            [],
            {0: "isa-pit", 2: "isa-i8259", 4: "isa-serial", 8: "mc146818rtc"}
            | dict.fromkeys(set(range(5, 13)) - {8}, "virtio-mmio"),
        ),
        (
            "11.1-microvm",
            [],
            {0: "isa-pit", 2: "isa-i8259", 4: "isa-serial", 8: "mc146818rtc"}
            | dict.fromkeys(set(range(5, 13)) - {8}, "virtio-mmio"),
        ),
    ],
)
def test_each_interrupt_has_its_owner(
    name: str, raising: list[dict[str, Any]], expected: dict[int, str]
) -> None:
    assert owners(name, *raising) == expected


def test_devices_behind_bridges_count() -> None:
    bridge = {"irq_pin": 0, "pci_bridge": {"devices": [NET]}}
    found = irqs_in_use(devices("10.0-q35"), pci(bridge))
    assert found[16] == "PCI (net0)"


@pytest.mark.parametrize("acpi", ["acpi-ged-x86", "acpi-ged"])
def test_microvm_with_one_io_apic(acpi: str) -> None:
    machine = [QtreeDevice("virtio-mmio", "")] * 8
    ged, bridge, usb = (QtreeDevice(kind, "") for kind in (acpi, "gpex-pcihost", "sysbus-xhci"))
    found = irqs_in_use([*machine, ged, bridge, usb], [])
    assert {gsi for gsi, owner in found.items() if owner == "virtio-mmio"} == set(range(16, 24))
    assert {gsi for gsi, owner in found.items() if owner == "PCI"} == {12, 13, 14, 15}
    assert (found[9], found[10]) == (acpi, "sysbus-xhci")


def test_a_user_devices_interrupt_counts() -> None:
    found = irqs_in_use([QtreeDevice("sb16", "sound", {"irq": 5, "dma": 1})], [])
    assert found == {5: "sb16 sound"}
