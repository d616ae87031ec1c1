# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf attach``: give a VM that runs already a device."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import click

from kvmbpf.cli.options import AT, GSI, MAX_FAULTS, MAX_RUN, OBJECT, VmName
from kvmbpf.cli.places import describe, tell
from kvmbpf.cli.qmp_option import QMP
from kvmbpf.errors import VmmError
from kvmbpf.kernel.process import LivingProcess
from kvmbpf.kernel.rights import require
from kvmbpf.manager import Store, attach, list_devices
from kvmbpf.manager.irqchip import ask_controller
from kvmbpf.manager.locate import Located, locate
from kvmbpf.manager.record import Limits
from kvmbpf.manager.watch import watch
from kvmbpf.model.objfile import read_device
from kvmbpf.model.placement import NOTHING, PROFILES, Occupied, find_profile, place
from kvmbpf.model.vm_name import shown
from qemu_glue.address import Address
from qemu_glue.occupied import ask_what_it_has, ask_what_it_is
from qemu_glue.vmms import qemu_of

# Of a VMM that is no QEMU nothing is known; the windows of x86's machines are alike.
_DEFAULT_MACHINE = "q35"

PID = click.option("--pid", type=click.IntRange(min=1), help="The VMM's process id.")
VM = click.option(
    "--vm",
    metavar="NAME",
    type=VmName(),
    help="The VM by its name: QEMU's -name, or one that `kvmbpf list` shows. "
    "With --pid or --qmp, what to call it.",
)


@dataclass(frozen=True)
class _Vmm:
    """What is known of a VMM: its machine, what it has, and how that is known."""

    machine: str
    occupied: Occupied
    checked: str


@click.command(name="attach")
@OBJECT
@PID
@QMP
@VM
@AT
@GSI
@click.option(
    "--machine",
    help=f"Take this one's free places: {', '.join(PROFILES)}. QEMU's own if not given.",
)
@click.option(
    "--vm-fd", type=click.IntRange(min=0), help="Which descriptor, of a VMM with several VMs."
)
@MAX_FAULTS
@MAX_RUN
@click.option("--watch", "stay", is_flag=True, help="Stay, and reset the device with its guest.")
def attach_command(
    path: Path,
    pid: int | None,
    qmp: Address | None,
    vm: str | None,
    gpas: tuple[int, ...],
    gsis: tuple[int, ...],
    machine: str | None,
    vm_fd: int | None,
    max_faults: int | None,
    max_run_ns: int | None,
    stay: bool,
) -> None:
    """Attach the device of OBJECT to a running VM.

    Say which by one of --pid, --qmp and --vm. Over QMP the device's place is checked
    against what QEMU has itself. The guest learns of a device by its firmware only: in
    a VM that runs already, a driver needs to know where to look. Level-triggered
    interrupts need the VM's IO-APIC in KVM (QEMU: kernel-irqchip=on).
    """
    spec = read_device(path)
    if machine is not None:
        find_profile(machine)
    if (pid is not None and qmp is not None) or (pid is None and qmp is None and vm is None):
        raise click.UsageError("say which VM: by one of --pid, --qmp and --vm")
    store = Store()
    with contextlib.closing(locate(store, pid=pid, qmp=qmp, vm=vm)) as found:
        if stay and found.session is None:
            raise VmmError(f"--watch needs QMP: {found.unchecked}")
        vmm = _ask(found, machine)
        others = [
            one.record
            for one in list_devices(store)
            if one.record.vm == found.name and one.record.process.may_be(found.process)
        ]
        placed = place(
            spec,
            find_profile(vmm.machine),
            gpas or None,
            gsis or None,
            taken=[one.placed() for one in others],
            occupied=vmm.occupied,
        )
        require("kvmbpf attach", "CAP_BPF", "CAP_PERFMON")
        controller = ask_controller(found.pid, vm_fd, found.session) if spec.irqs else None
        note = controller.check(placed) if controller is not None else ""
        record = attach(
            store,
            path,
            placed,
            pid=found.pid,
            vm=found.name,
            vm_fd=vm_fd,
            limits=Limits(max_faults, max_run_ns),
            controller=controller,
            start_ticks=found.process.start_ticks,
        )
        click.echo(f"attached to VM {shown(record.vm)} (pid {record.pid}): {describe(record)}")
        click.echo(f"backend {record.backend}: KVM answers its accesses from now on")
        click.echo(f"place {vmm.checked}")
        if note:
            click.echo(f"note: {note}")
        if stay and found.session is not None:
            with LivingProcess(found.pid, found.process.start_ticks) as process:
                watch(store, found.name, process, found.session.path, tell, found.session)


def _ask(found: Located, machine: str | None) -> _Vmm:
    """Ask a VMM what it is and has."""
    if found.session is None:
        qemu = qemu_of(found.pid)
        guessed = qemu.command.machine() if qemu is not None else _DEFAULT_MACHINE
        why = f"not checked against the VMM's own devices: {found.unchecked}"
        return _Vmm(machine or guessed, NOTHING, why)
    qemu_is = ask_what_it_is(found.session)
    if not qemu_is.kvm:
        raise VmmError(f"QEMU (pid {found.pid}) runs without KVM: there is no VM to attach to")
    checked = f"checked against the devices of QEMU {qemu_is.version} ({qemu_is.machine})"
    return _Vmm(machine or qemu_is.machine, ask_what_it_has(found.session), checked)
