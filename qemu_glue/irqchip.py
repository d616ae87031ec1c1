# SPDX-License-Identifier: GPL-2.0-or-later
"""Which interrupt controllers a running QEMU has put into KVM.

QEMU has no query for it: ``kernel-irqchip`` can be set, and not read. But the models
that it has made differ: ``kvm-ioapic`` and ``kvm-i8259`` stand for those in KVM, and the
local APIC's window is ``kvm-apic-msi`` or ``apic-msi``.

Source: hw/i386/kvm/{apic,ioapic,i8259}.c and hw/intc/apic.c of QEMU.
"""

from __future__ import annotations

from collections.abc import Iterable

from kvmbpf.model.irqchip import IrqChip
from qemu_glue.mtree import MEMORY, Range, parse_mtree, ranges_of
from qemu_glue.qmp import QmpSession
from qemu_glue.qtree import QtreeDevice, parse_qtree

_IN_KVM = frozenset({"kvm-ioapic", "kvm-i8259"})


def ask_irqchip(qmp: QmpSession) -> IrqChip:
    """Return where a QEMU with KVM on has its interrupt controllers.

    :return: UNKNOWN when what it has tells nothing.
    :raise VmmError: when it does not answer, or its answer is not understood.
    """
    memory = ranges_of(parse_mtree(qmp.hmp("info mtree -f")), MEMORY)
    return irqchip_of(memory, parse_qtree(qmp.hmp("info qtree")))


def irqchip_of(memory: Iterable[Range], devices: Iterable[QtreeDevice]) -> IrqChip:
    """Return where the interrupt controllers of a QEMU with KVM on are.

    :param memory: what answers in its memory, of ``info mtree -f``.
    :param devices: of ``info qtree``.
    """
    if any(device.type in _IN_KVM for device in devices):
        return IrqChip.KERNEL
    names = {one.name for one in memory}
    if "kvm-apic-msi" in names:
        return IrqChip.SPLIT
    return IrqChip.NONE if "apic-msi" in names else IrqChip.UNKNOWN
