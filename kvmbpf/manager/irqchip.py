# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a running VM has its interrupt controllers, and who says so.

KVM is asked first, which knows of any VMM; then QEMU, by what it has made; then its command
line, where that says it outright. What a machine type has by default is no answer: it
changed over time. Nobody's answer is "unknown", and is told, not refused.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from kvmbpf.errors import BadFileError, KernelCallError, UnsupportedError, VmmError
from kvmbpf.kernel.kvm import KvmDevice, Vm, borrow_vm
from kvmbpf.kernel.kvm.irqchip import vm_irqchip
from kvmbpf.model.irqchip import IrqChip, check_irqs, unknown_note
from kvmbpf.model.placement import Placed
from qemu_glue.irqchip import ask_irqchip
from qemu_glue.qmp import QmpSession
from qemu_glue.vmms import qemu_of


@dataclass(frozen=True)
class Controller:
    """Where a VM has its interrupt controllers.

    :param chip: where.
    :param why: it is not known; empty where it is.
    :param option: of QEMU's, that would have them all in KVM; None where the VMM is no QEMU.
    """

    chip: IrqChip
    why: str = ""
    option: str | None = None

    def check(self, placed: Placed) -> str:
        """Refuse a device whose interrupts would be lost.

        :return: what its user should know, or "".
        :raise UnsupportedError: when that is for the controller.
        :raise PlacementError: when it is for a gsi.
        """
        check_irqs(placed, self.chip, self.option)
        return unknown_note(placed, self.why) if self.chip is IrqChip.UNKNOWN else ""


def ask_controller(
    pid: int, vm_fd: int | None = None, session: QmpSession | None = None
) -> Controller:
    """Find out where a VMM's VM has its interrupt controllers.

    :param pid: the VMM's process id (C ``pid_t``).
    :param vm_fd: which of its descriptors (C ``int``), where it has several VMs.
    :param session: with its QEMU, or None.
    :raise StateError: when it has no VM, or more than one and nothing says which.
    :raise KernelCallError: when the process is gone or not permitted.
    """
    with borrow_vm(pid, vm_fd) as vm:
        return find_controller(vm, pid, session)


def find_controller(vm: Vm | KvmDevice, pid: int, session: QmpSession | None = None) -> Controller:
    """Find out where a VM has its interrupt controllers.

    :param vm: the VM, or a BPF device in it.
    :param pid: of its VMM (C ``pid_t``).
    :param session: with its QEMU, or None.
    """
    option = _option(pid, session)
    try:
        return Controller(vm_irqchip(vm), option=option)
    except (BadFileError, KernelCallError, UnsupportedError) as error:
        why = f"KVM cannot be asked: {error}"
    chip = _qemus(pid, session)
    return Controller(chip, why if chip is IrqChip.UNKNOWN else "", option)


def _qemus(pid: int, session: QmpSession | None) -> IrqChip:
    """Return what QEMU says, or its command line."""
    if session is not None:
        with contextlib.suppress(VmmError):
            return ask_irqchip(session)
    qemu = qemu_of(pid)
    return qemu.irqchip() if qemu is not None else IrqChip.UNKNOWN


def _option(pid: int, session: QmpSession | None) -> str | None:
    """Return the option that would put all into KVM, as QEMU's user would write it."""
    qemu = qemu_of(pid)
    if qemu is not None:
        return qemu.irqchip_option()
    # Under a name that is not a QEMU's.
    return "kernel-irqchip=on" if session is not None else None
