# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf run | attach``: give a VM a device."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import click

from kvmbpf.cli.options import NAME, OBJECT
from kvmbpf.errors import VmmError
from kvmbpf.manager import Store, attach, list_devices
from kvmbpf.manager.record import DeviceRecord
from kvmbpf.manager.store import check_name
from kvmbpf.objfile import read_device
from kvmbpf.placement import PROFILES, MachineProfile, Placed, find_profile, place


class Address(click.ParamType[int]):
    """A number, decimal or as 0x..., not negative."""

    name = "number"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return the number that a text says."""
        if isinstance(value, int):
            return value
        try:
            number = int(str(value), 0)
        except ValueError:
            self.fail(f"{value!r} is not a number; write 0xfef00000 or the like", param, ctx)
        if number < 0:
            self.fail(f"{value!r} is negative", param, ctx)
        return number


GPA = click.option(
    "--gpa",
    "gpas",
    metavar="ADDRESS",
    type=Address(),
    multiple=True,
    help="Place a region there: its address, or its first port.",
)
GSI = click.option(
    "--gsi", "gsis", metavar="GSI", type=Address(), multiple=True, help="Wire an irq there."
)


def _describe(record: DeviceRecord) -> str:
    parts = [f"device {record.device} ({' '.join(record.compatible)})"]
    for index, region in enumerate(record.regions):
        where, unit = ("port ", "ports") if region.on_ports else ("", "bytes")
        parts.append(f"region {index} at {where}{region.gpa:#x}, {region.size:#x} {unit}")
    parts += [f"irq {i} on gsi {q.gsi}, {q.trigger}" for i, q in enumerate(record.irqs)]
    return "; ".join(parts)


@click.command(name="attach")
@OBJECT
@click.option("--pid", type=click.IntRange(min=1), help="The VMM's process id.")
@click.option(
    "--qmp", type=click.Path(path_type=Path), help="A QMP socket of the VMM; gives the pid."
)
@click.option("--machine", default="q35", show_default=True, help=f"One of: {', '.join(PROFILES)}.")
@NAME
@GPA
@GSI
def attach_command(
    path: Path,
    pid: int | None,
    qmp: Path | None,
    machine: str,
    vm: str | None,
    gpas: tuple[int, ...],
    gsis: tuple[int, ...],
) -> None:
    """Attach the device of OBJECT to a running VM.

    The guest learns of the device by its firmware only: a VM that runs already
    needs a driver that knows where to look.
    """
    vmm = _the_vmm(pid, qmp)
    spec = read_device(path)
    profile = find_profile(machine)
    store = Store()
    name = _vm_name(vm, vmm)
    others = [found.record.placed() for found in list_devices(store) if found.record.vm == name]
    placed = place(spec, profile, gpas or None, gsis or None, taken=others)
    record = attach(store, path, placed, pid=vmm, vm=name)
    click.echo(f"attached to VM {record.vm} (pid {record.pid}): {_describe(record)}")
    click.echo(f"backend {record.backend}: KVM answers its accesses from now on")


def _the_vmm(pid: int | None, qmp: Path | None) -> int:
    """Return the VMM's process id from the two ways to say it."""
    if pid is not None and qmp is None:
        return pid
    if qmp is None or pid is not None:
        raise click.UsageError("say which VM: either --pid or --qmp")
    from qemu_glue.qmp import QmpSession

    with QmpSession.connect(qmp) as session:
        return session.peer_pid()


def _vm_name(name: str | None, pid: int) -> str:
    return check_name("VM", name) if name else f"pid{pid}"


@click.command(
    name="run",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option(
    "--device",
    "paths",
    metavar="OBJECT",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="A device to attach; may be given more than once.",
)
@NAME
@GPA
@GSI
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run_command(
    paths: tuple[Path, ...],
    vm: str | None,
    gpas: tuple[int, ...],
    gsis: tuple[int, ...],
    command: tuple[str, ...],
) -> int:
    """Start a stock QEMU with devices attached, and stay until it ends.

    \b
    kvmbpf run --device mydev.bpf.o -- qemu-system-x86_64 -M q35,accel=kvm ...

    QEMU starts stopped, the devices are attached, then the guest runs. An ACPI
    table tells it of them. --gpa and --gsi count through all devices.
    """  # noqa: D301 (\b is click's mark for text that is not to be wrapped)
    from kvmbpf.manager.run import run

    profile = find_profile(_machine_of(command))
    placed = _place_all(paths, profile, gpas, gsis)
    devices = list(zip(paths, placed, strict=True))
    return run(Store(), devices, command, profile, vm=vm, report=_report)


def _report(record: DeviceRecord) -> None:
    click.echo(
        f"kvmbpf: attached to VM {record.vm} (pid {record.pid}): {_describe(record)}", err=True
    )


def _place_all(
    paths: Sequence[Path],
    profile: MachineProfile,
    gpas: tuple[int, ...],
    gsis: tuple[int, ...],
) -> list[Placed]:
    placed: list[Placed] = []
    for path in paths:
        spec = read_device(path)
        own_gpas, gpas = gpas[: len(spec.regions)], gpas[len(spec.regions) :]
        own_gsis, gsis = gsis[: len(spec.irqs)], gsis[len(spec.irqs) :]
        placed.append(place(spec, profile, own_gpas or None, own_gsis or None, taken=placed))
    if gpas or gsis:
        raise click.UsageError("more --gpa or --gsi than the devices have regions or irqs")
    return placed


def _machine_of(command: Sequence[str]) -> str:
    """Return the machine that a QEMU command line names."""
    for option, value in itertools.pairwise(command):
        if option in ("-M", "-machine", "--machine"):
            first = value.split(",")[0]
            return first.removeprefix("type=")
    raise VmmError("the command names no machine: add -M q35 to it")
