# SPDX-License-Identifier: GPL-2.0-or-later
"""Start a stock QEMU with devices attached, and stay until it ends.

QEMU starts stopped (-S). What it is and has is asked over QMP: the devices' places
are checked against it, the devices are attached to the VM that it made, and then
it may run. An ACPI table or a device tree, which QEMU reads when it starts, tells
the guest of them; so a place that was found, and turns out to be taken, has QEMU
started once more.

Signals that end a command are handed on to QEMU, which ends the guest as it always
does; what it leaves is swept, and its exit status returned. If this process is
killed the guest and its devices go on.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from kvmbpf.errors import KvmBpfError, PlacementError, StateError, VmmError
from kvmbpf.kernel.process import LivingProcess, why_it_stands
from kvmbpf.manager.devices import attach
from kvmbpf.manager.irqchip import Controller, ask_controller
from kvmbpf.manager.locate import name_or_pid
from kvmbpf.manager.record import DeviceRecord, Limits
from kvmbpf.manager.store import Store
from kvmbpf.manager.watch import Tell, watch
from kvmbpf.model.firmware import to_dtb, to_ssdt
from kvmbpf.model.objfile import read_device
from kvmbpf.model.placement import (
    NOTHING,
    Firmware,
    MachineProfile,
    Occupied,
    Placed,
    find_profile,
    place,
)
from kvmbpf.writing import write_own
from qemu_glue.commandline import CommandLine, quoted
from qemu_glue.dtb import loadable_dtb
from qemu_glue.launch import QemuProcess
from qemu_glue.occupied import RunningQemu, ask_what_it_has, ask_what_it_is
from qemu_glue.qmp import QmpSession
from qemu_glue.runtime import RuntimeDir

_QUIT_S = 5.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Wanted:
    """A device that a VM is to have.

    :param path: its object file.
    :param gpas: where its regions go, or None; see `kvmbpf.model.placement.place`.
    :param gsis: where its irqs go, or None.
    """

    path: Path
    gpas: tuple[int, ...] | None = None
    gsis: tuple[int, ...] | None = None


Devices = list[tuple[Path, Placed]]


def run(
    store: Store,
    wanted: Sequence[Wanted],
    command: Sequence[str],
    *,
    vm: str | None = None,
    limits: Limits | None = None,
    report: Callable[[DeviceRecord], None],
    tell: Tell,
) -> int:
    """Run a QEMU command line with devices attached.

    :param wanted: the devices.
    :param command: QEMU and its arguments, with KVM on; -S, a QMP socket and
        the firmware's description are put before the arguments.
    :param vm: a name for the VM; QEMU's ``-name`` or ``pid<N>`` when None.
    :param limits: what each device's programs may cost; None for no limits.
    :param report: called with each device that was attached.
    :param tell: called with each sentence that the user should read.
    :return: QEMU's exit status, or 128 + N if signal N ended it.
    :raise PlacementError: when a device has no place.
    :raise UnsupportedError: when a device's interrupts do not work with the VM's
        interrupt controllers.
    :raise VmmError: when the command line is refused, or QEMU does not start.
    """
    line = CommandLine(command)
    profile = find_profile(line.machine())
    refuse(line, profile)
    job = _Job(store, wanted, command, line, profile, vm, limits, report, tell)
    devices = place_all(wanted, profile)
    try:
        again = _once(job, devices)
        if isinstance(again, list):
            again = _once(job, again)
        if isinstance(again, list):
            raise VmmError(f"{line.program} has its devices elsewhere each time it starts")
    except _InterruptedError as interrupted:
        again = -interrupted.number
    finally:
        store.sweep_all()
    return again if again >= 0 else 128 - again


@dataclass(frozen=True)
class _Job:
    """What `run` was asked for."""

    store: Store
    wanted: Sequence[Wanted]
    command: Sequence[str]
    line: CommandLine
    profile: MachineProfile
    vm: str | None
    limits: Limits | None
    report: Callable[[DeviceRecord], None]
    tell: Tell


class _InterruptedError(Exception):
    """A signal came before the guest ran."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _once(job: _Job, devices: Devices) -> int | Devices:
    """Start QEMU with devices at these places; return its status, or places that are free."""
    with _started(job, devices) as (qemu, qmp):
        occupied = _check(qmp, job.line, job.profile)
        placed = place_all(job.wanted, job.profile, occupied)
        if placed == devices:
            return _attend(job, devices, qemu, qmp)
        job.tell(f"{_why_moved(job.profile, devices, occupied)}: QEMU is started once more")
        return placed


def refuse(line: CommandLine, profile: MachineProfile) -> None:
    """Refuse options that do not go together with what is done here.

    :raise VmmError: when there is one; it says why, and what to do instead.
    """
    if line.has("daemonize"):
        raise VmmError(
            "-daemonize: `kvmbpf run` stays until QEMU ends; leave it out, or start QEMU "
            "yourself and use `kvmbpf attach`"
        )
    if line.has("preconfig"):
        raise VmmError(
            "-preconfig: QEMU makes no VM before it is left, so there is nothing to attach to; "
            "leave it out"
        )
    if profile.firmware is Firmware.DEVICE_TREE and line.has("dtb"):
        raise VmmError(
            f"-dtb: on {profile.name} `kvmbpf run` gives QEMU a tree of its own and QEMU takes "
            "one; add the devices to yours, start QEMU with -S yourself and use `kvmbpf attach`"
        )


def place_all(
    wanted: Sequence[Wanted], profile: MachineProfile, occupied: Occupied = NOTHING
) -> Devices:
    """Give all devices of a guest their places.

    :param occupied: what its VMM has.
    :raise BadFileError: when an object is none.
    :raise PlacementError: when a device has no place.
    """
    devices: Devices = []
    for one in wanted:
        taken = [placed for _, placed in devices]
        spec = read_device(one.path)
        if any(spec.name == other.spec.name for other in taken):
            raise PlacementError(f"{one.path}: the VM has a device {spec.name} already")
        placed = place(spec, profile, one.gpas, one.gsis, taken=taken, occupied=occupied)
        devices.append((one.path, placed))
    return devices


@contextlib.contextmanager
def _started(job: _Job, devices: Devices) -> Iterator[tuple[QemuProcess, QmpSession]]:
    """Start QEMU, stopped; end it when the block is left.

    :raise _InterruptedError: when something failed after a signal had come.
    """
    with RuntimeDir() as runtime:
        told = firmware_arguments(devices, job.profile, runtime.path, job.line.kernel())
        arguments = [*told, *job.command[1:]]
        with (
            QemuProcess(arguments, runtime, program=job.line.program, inherit_stdio=True) as qemu,
            _signals_go_to(qemu, job.tell) as caught,
        ):
            try:
                with qemu.connect() as qmp, _ended_by_quit(qemu, qmp):
                    yield qemu, qmp
            except KvmBpfError as error:
                if caught:
                    raise _InterruptedError(caught[0]) from error
                raise


@contextlib.contextmanager
def _ended_by_quit(qemu: QemuProcess, qmp: QmpSession) -> Iterator[None]:
    """End QEMU when the block is left; by QMP, since it remarks on each signal."""
    try:
        yield
    finally:
        with contextlib.suppress(VmmError, StateError):
            qmp.execute("quit")
            qemu.wait(_QUIT_S)


@contextlib.contextmanager
def _signals_go_to(qemu: QemuProcess, tell: Tell) -> Iterator[list[int]]:
    """Hand signals on to QEMU; yield the list of those that came.

    A QEMU that does not run takes none of them: who waits for its end is told.
    """
    caught: list[int] = []

    def hand_on(number: int, _: FrameType | None) -> None:
        caught.append(number)
        qemu.send_signal(number)
        stands = why_it_stands(qemu.pid)
        if stands:
            tell(f"{stands}; then it takes {signal.Signals(number).name}, or end it by kill -KILL")

    before = {number: signal.signal(number, hand_on) for number in _SIGNALS}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check(qmp: QmpSession, line: CommandLine, profile: MachineProfile) -> Occupied:
    """Check that QEMU is what its command line was taken for; return what it has."""
    found: RunningQemu = ask_what_it_is(qmp)
    if find_profile(found.machine) is not profile:
        raise VmmError(
            f"{line.program} made a machine {found.machine}, not {line.machine()}: "
            "name it with -M on the command line"
        )
    if not found.kvm:
        raise VmmError(f"{line.program} runs without KVM: add -accel kvm to its command line")
    return ask_what_it_has(qmp)


def _attend(job: _Job, devices: Devices, qemu: QemuProcess, qmp: QmpSession) -> int:
    """Attach the devices, let the guest run, follow it; return QEMU's exit status."""
    name = job.vm or name_or_pid(job.line.guest_name(), qemu.pid)
    controller = _check_irqs(job, devices, qemu, qmp)
    for path, placed in devices:
        job.report(
            attach(
                job.store,
                path,
                placed,
                pid=qemu.pid,
                vm=name,
                limits=job.limits,
                controller=controller,
            )
        )
    if job.line.has("S"):
        job.tell("the guest is stopped, as -S asks: let it go with `cont`")
    else:
        qmp.execute("cont")
    with LivingProcess(qemu.pid) as process:
        watch(job.store, name, process, qemu.qmp_path, job.tell, qmp)
    return qemu.wait(None)


def _check_irqs(
    job: _Job, devices: Devices, qemu: QemuProcess, qmp: QmpSession
) -> Controller | None:
    """Refuse all devices if the interrupts of one would be lost; return what was found out."""
    if not any(placed.irqs for _, placed in devices):
        return None
    controller = ask_controller(qemu.pid, session=qmp)
    for _, placed in devices:
        if note := controller.check(placed):
            job.tell(note)
    return controller


def _why_moved(profile: MachineProfile, devices: Devices, occupied: Occupied) -> str:
    """Say which of the places that were found is taken, and by what."""
    taken: list[Placed] = []
    for _, placed in devices:
        spec = placed.spec
        found = [
            base
            for base, region in zip(placed.regions, spec.regions, strict=True)
            if region.base is None
        ]
        try:
            place(spec, profile, found, placed.irqs, taken=taken, occupied=occupied)
        except PlacementError as error:
            return str(error).partition(";")[0]
        taken.append(placed)
    return "a place is taken"


def firmware_arguments(
    devices: Sequence[tuple[Path, Placed]],
    profile: MachineProfile,
    directory: Path,
    kernel: Path | None,
) -> list[str]:
    """Write what tells the guest of the devices; return QEMU's arguments for it.

    :param directory: where the file goes.
    :param kernel: the guest's, if QEMU is given one.
    :raise PlacementError: when the machine cannot tell of a device's interrupts,
        or of any device without a kernel.
    """
    placed = [device for _, device in devices]
    if profile.firmware is Firmware.ACPI:
        table = directory / "ssdt.aml"
        write_own(table, to_ssdt(placed))
        return ["-acpitable", f"file={quoted(table)}"]
    for device in placed:
        if device.irqs and not profile.firmware_irqs:
            raise PlacementError(
                f"device {device.spec.name} has interrupts, of which stock QEMU's "
                f"{profile.name} cannot tell the guest: use q35"
            )
    if kernel is None:
        raise PlacementError(
            f"stock QEMU's {profile.name} tells a guest of devices only together with -kernel"
        )
    tree = directory / "devices.dtb"
    write_own(tree, loadable_dtb(to_dtb(placed), kernel))
    return ["-dtb", str(tree)]
