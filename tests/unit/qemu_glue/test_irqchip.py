# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's interrupt controllers, by the models that it has made."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmbpf.model.irqchip import IrqChip
from qemu_glue.irqchip import irqchip_of
from qemu_glue.mtree import MEMORY, Kind, Range, parse_mtree, ranges_of
from qemu_glue.qtree import QtreeDevice, parse_qtree

pytestmark = pytest.mark.unit
DATA = Path(__file__).parent / "data"
WINDOW = (0xFEE00000, 0xFEEFFFFF)


@pytest.mark.parametrize(
    ("name", "chip"),
    [
        ("7.2-q35-kvm", IrqChip.KERNEL),
        ("10.0-pc-kvm", IrqChip.KERNEL),
        # Emulated: the models are those of kernel-irqchip=off.
        ("7.2-pc", IrqChip.NONE),
        ("7.2-microvm", IrqChip.NONE),
        ("10.0-q35", IrqChip.NONE),
        ("10.0-microvm", IrqChip.NONE),
    ],
)
def test_a_real_machines_models_tell(name: str, chip: IrqChip) -> None:
    memory = ranges_of(parse_mtree((DATA / f"{name}.mtree.txt").read_text()), MEMORY)
    devices = parse_qtree((DATA / f"{name}.qtree.txt").read_text())
    assert irqchip_of(memory, devices) is chip


@pytest.mark.parametrize(
    ("window", "models", "chip"),
    [
        ("kvm-apic-msi", ["ioapic", "isa-i8259"], IrqChip.SPLIT),
        # microvm's second IO-APIC and its PIC are QEMU's in any case.
        ("kvm-apic-msi", ["ioapic", "kvm-ioapic", "isa-i8259"], IrqChip.KERNEL),
        ("kvm-apic-msi", ["kvm-i8259"], IrqChip.KERNEL),
        ("apic-msi", ["ioapic"], IrqChip.NONE),
        ("something", ["ioapic"], IrqChip.UNKNOWN),
    ],
)
def test_what_is_in_kvm_has_a_model_of_its_own(
    window: str, models: list[str], chip: IrqChip
) -> None:
    memory = [Range(*WINDOW, Kind.DEVICE, window)]
    assert irqchip_of(memory, [QtreeDevice(model, "") for model in models]) is chip
