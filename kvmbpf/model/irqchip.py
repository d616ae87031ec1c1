# SPDX-License-Identifier: GPL-2.0-or-later
"""Which interrupts of a device work with which interrupt controller.

A VM's controllers (PIC, IO-APIC, local APICs) are in KVM, in its VMM, or split: the
local APICs in KVM and the rest in the VMM. A device of KVM's reaches those in KVM. An
IO-APIC in KVM raises a level-triggered line that is still up again at the guest's EOI.
With the VMM's a device's line is a message that is sent once; the VMM that gets
the EOI knows nothing of the line, and it is never raised again. Edges lose nothing there.
"""

from __future__ import annotations

import enum

from kvmbpf.errors import PlacementError, UnsupportedError
from kvmbpf.model.placement import Placed
from kvmbpf.model.spec import Trigger

# Of the IO-APIC in KVM, and of a VMM's first one; KVM gives no device a line of a second.
PINS = 24


class IrqChip(enum.Enum):
    """Where the interrupt controllers of a VM are."""

    KERNEL = "kernel"
    SPLIT = "split"
    NONE = "none"
    UNKNOWN = "unknown"


# What each is, for a reader.
WORDS = {
    IrqChip.KERNEL: "all of it in KVM",
    IrqChip.SPLIT: "the local APICs in KVM, the IO-APIC in the VMM",
    IrqChip.NONE: "none of it in KVM",
    IrqChip.UNKNOWN: "it cannot be known",
}


def check_irqs(placed: Placed, chip: IrqChip, option: str | None = None) -> None:
    """Refuse a device whose interrupts would be lost.

    :param placed: the device and its place.
    :param chip: where the VM's interrupt controllers are; what is not known is not refused.
    :param option: of QEMU's, that has them all in KVM; None where the VMM is no QEMU.
    :raise UnsupportedError: when it has irqs and KVM no controller, or level-triggered
        ones and KVM no IO-APIC.
    :raise PlacementError: when a gsi leads to no pin that KVM knows.
    """
    spec = placed.spec
    if not spec.irqs:
        return
    if chip is IrqChip.NONE:
        raise without_controller(spec.name, option)
    level = _level(placed)
    if level and chip is IrqChip.SPLIT:
        raise UnsupportedError(
            f"device {spec.name}: level-triggered {_irqs(level)}",
            found="a VM whose IO-APIC is in the VMM (kernel-irqchip=split), where such a line is "
            "lost after its first interrupt",
            needed="one whose IO-APIC is in KVM",
            mend=f"{_mend(option)}, or make the interrupts edge-triggered (.level_irqs = 0)",
        )
    for irq, gsi in zip(spec.irqs, placed.irqs, strict=True):
        # Beyond the pins are the VMM's messages: QEMU's own devices', another VMM's by design.
        if gsi >= PINS and (option is not None or irq.trigger is Trigger.LEVEL):
            raise PlacementError(
                f"device {spec.name}: irq {irq.index}: gsi {gsi} is no pin of an IO-APIC that KVM "
                f"reaches, these are 0..{PINS - 1}; give another one with --gsi"
            )


def without_controller(device: str, option: str | None = None) -> UnsupportedError:
    """Build the refusal of a device with irqs in a VM without a controller in KVM.

    :param device: its name.
    :param option: as of `check_irqs`.
    """
    return UnsupportedError(
        f"device {device}: interrupts",
        found="a VM that has no interrupt controller in KVM (kernel-irqchip=off)",
        needed="one that has",
        mend=_mend(option),
    )


def microvm_note(placed: Placed) -> str:
    """Say what QEMU's machine microvm has to be told for a device; "" when nothing.

    It alone of the machines with a profile has its IO-APIC in QEMU by default.
    """
    level = _level(placed)
    if not level:
        return ""
    return (
        f"level-triggered {_irqs(level)} of device {placed.spec.name}: start QEMU with "
        "-M microvm,kernel-irqchip=on; by default microvm has its IO-APIC in QEMU, and the "
        "device is refused"
    )


def unknown_note(placed: Placed, why: str) -> str:
    """Say that a controller is not known, where that may cost a device interrupts; else "".

    :param why: it is not known.
    """
    level = _level(placed)
    if not level:
        return ""
    return (
        f"interrupt controller not known: {why}; level-triggered {_irqs(level)} of device "
        f"{placed.spec.name} would be lost unless it is in KVM (kernel-irqchip=on)"
    )


def _level(placed: Placed) -> list[int]:
    """Return which irqs are level-triggered."""
    return [irq.index for irq in placed.spec.irqs if irq.trigger is Trigger.LEVEL]


def _irqs(indices: list[int]) -> str:
    word = "irq" if len(indices) == 1 else "irqs"
    return f"{word} {', '.join(map(str, indices))}"


def _mend(option: str | None) -> str:
    if option is None:
        return "have the VMM make KVM's (KVM_CREATE_IRQCHIP; of QEMU kernel-irqchip=on)"
    return f"start QEMU with {option}"
