# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf run | attach | update | detach | list``: devices in VMs."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import click

from kvmbpf.errors import VmmError
from kvmbpf.libbpf import plain
from kvmbpf.manager import Store, attach, detach, device_state, list_devices, update
from kvmbpf.manager.devices import DeviceStatus
from kvmbpf.manager.record import DeviceRecord, RegionRecord
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


OBJECT = click.argument("path", metavar="OBJECT", type=click.Path(path_type=Path))
NAME = click.option("--vm", metavar="NAME", help="The VM's name.")
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


@click.command(name="update")
@OBJECT
@NAME
def update_command(path: Path, vm: str | None) -> None:
    """Replace a device's program by that of OBJECT while the guest runs."""
    record, carried = update(Store(), path, vm=vm)
    click.echo(f"updated {record.device} of VM {record.vm} to {path}")
    click.echo(f"state kept: {', '.join(carried.carried) or 'none'}")
    if carried.new:
        click.echo(f"state new: {', '.join(carried.new)}")
    if carried.dropped:
        click.echo(f"state dropped: {', '.join(carried.dropped)}")


@click.command(name="detach")
@click.argument("device")
@NAME
def detach_command(device: str, vm: str | None) -> None:
    """Take DEVICE away: its accesses go to the VMM again."""
    record = detach(Store(), device, vm=vm)
    click.echo(f"detached {record.device} from VM {record.vm} (pid {record.pid})")


@click.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with each device's state.")
def list_command(as_json: bool) -> None:
    """List attached devices."""
    store = Store()
    found = list_devices(store)
    if as_json:
        click.echo(json.dumps([_as_json(store, status) for status in found], indent=1))
        return
    if not found:
        click.echo("no devices attached")
        return
    rows = [("VM", "PID", "DEVICE", "REGIONS", "IRQS", "OBJECT")]
    for status in found:
        record = status.record
        rows.append(
            (
                record.vm,
                str(record.pid),
                record.device,
                ",".join(map(_range, record.regions)),
                ",".join(str(i.gsi) for i in record.irqs) or "-",
                Path(status.version.path).name if status.version else "unknown",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


def _range(region: RegionRecord) -> str:
    return f"{'io:' if region.on_ports else ''}{region.gpa:#x}+{region.size:#x}"


def _as_json(store: Store, status: DeviceStatus) -> dict[str, object]:
    record = status.record
    state = device_state(store, record.vm, record.device)
    return {
        **record.to_json(),
        "attached": status.attached,
        "object": dataclasses.asdict(status.version) if status.version else None,
        "state": {name: plain(value) for name, value in state.items()},
    }


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
