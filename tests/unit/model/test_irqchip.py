# SPDX-License-Identifier: GPL-2.0-or-later
"""Which interrupts work with which controller, and what whoever is refused is told."""

from __future__ import annotations

import pytest

from kvmbpf.errors import PlacementError, UnsupportedError
from kvmbpf.model.irqchip import IrqChip, check_irqs, unknown_note, without_controller
from kvmbpf.model.placement import Placed
from kvmbpf.model.spec import Bus, DeviceSpec, IrqSpec, RegionSpec, Trigger

pytestmark = pytest.mark.unit

EDGE, LEVEL = Trigger.EDGE, Trigger.LEVEL
OPTION = "kernel-irqchip=on, as -M q35,kernel-irqchip=on"


def placed(*irqs: tuple[Trigger, int]) -> Placed:
    spec = DeviceSpec(
        name="dev",
        compatible=("acme,dev",),
        version=1,
        regions=(RegionSpec(0, Bus.MMIO, 0x1000, "", ""),),
        irqs=tuple(IrqSpec(index, trigger) for index, (trigger, _) in enumerate(irqs)),
    )
    return Placed(spec, (0xFEF00000,), tuple(gsi for _, gsi in irqs))


@pytest.mark.parametrize("option", [None, OPTION])
@pytest.mark.parametrize(
    ("chip", "irqs"),
    [
        (IrqChip.KERNEL, [(EDGE, 5), (LEVEL, 23)]),
        (IrqChip.SPLIT, [(EDGE, 5), (EDGE, 23)]),
        (IrqChip.UNKNOWN, [(EDGE, 5), (LEVEL, 6)]),
        *((chip, []) for chip in IrqChip),
    ],
)
def test_what_works_is_let_through(
    option: str | None, chip: IrqChip, irqs: list[tuple[Trigger, int]]
) -> None:
    check_irqs(placed(*irqs), chip, option)


def test_a_level_irq_needs_the_io_apic_in_kvm() -> None:
    device = placed((EDGE, 5), (LEVEL, 6), (EDGE, 3), (LEVEL, 7))
    with pytest.raises(UnsupportedError) as caught:
        check_irqs(device, IrqChip.SPLIT, OPTION)
    assert str(caught.value) == (
        "device dev: level-triggered irqs 1, 3: found a VM whose IO-APIC is in the VMM "
        "(kernel-irqchip=split), where such a line is lost after its first interrupt, needed one "
        "whose IO-APIC is in KVM; start QEMU with kernel-irqchip=on, as -M q35,kernel-irqchip=on, "
        "or make the interrupts edge-triggered (.level_irqs = 0)"
    )


@pytest.mark.parametrize("trigger", [EDGE, LEVEL])
def test_any_irq_needs_a_controller_in_kvm(trigger: Trigger) -> None:
    with pytest.raises(UnsupportedError) as caught:
        check_irqs(placed((trigger, 5)), IrqChip.NONE, OPTION)
    assert str(caught.value) == str(without_controller("dev", OPTION))
    assert str(caught.value) == (
        "device dev: interrupts: found a VM that has no interrupt controller in KVM "
        "(kernel-irqchip=off), needed one that has; start QEMU with kernel-irqchip=on, as "
        "-M q35,kernel-irqchip=on"
    )


def test_a_vmm_that_is_no_qemu_is_told_what_it_has_to_do() -> None:
    with pytest.raises(UnsupportedError) as caught:
        check_irqs(placed((LEVEL, 5)), IrqChip.SPLIT)
    assert "; have the VMM make KVM's (KVM_CREATE_IRQCHIP; of QEMU kernel-irqchip=on), or " in str(
        caught.value
    )


@pytest.mark.parametrize("chip", [IrqChip.KERNEL, IrqChip.SPLIT, IrqChip.UNKNOWN])
def test_a_gsi_beyond_the_pins_is_another_devices_message_or_nothing(chip: IrqChip) -> None:
    with pytest.raises(PlacementError) as caught:
        check_irqs(placed((EDGE, 23), (EDGE, 24)), chip, OPTION)
    assert str(caught.value) == (
        "device dev: irq 1: gsi 24 is no pin of an IO-APIC that KVM reaches, these are 0..23; "
        "give another one with --gsi"
    )


def test_another_vmm_may_route_such_a_gsi_to_a_message_of_its_own() -> None:
    check_irqs(placed((EDGE, 30)), IrqChip.SPLIT)
    with pytest.raises(PlacementError, match="irq 0: gsi 30 is no pin"):
        check_irqs(placed((LEVEL, 30)), IrqChip.KERNEL)


def test_what_is_not_known_is_told_where_it_matters() -> None:
    assert unknown_note(placed((LEVEL, 5), (LEVEL, 6)), "nobody says") == (
        "interrupt controller not known: nobody says; level-triggered irqs 0, 1 of device dev "
        "would be lost unless it is in KVM (kernel-irqchip=on)"
    )
    assert unknown_note(placed((EDGE, 5)), "nobody says") == ""
