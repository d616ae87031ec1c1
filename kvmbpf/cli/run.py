# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf run``: start a stock QEMU with devices attached."""

from __future__ import annotations

from pathlib import Path

import click

from kvmbpf.cli.options import MAX_FAULTS, MAX_RUN, NAME, Number
from kvmbpf.cli.paramtype import ParamType
from kvmbpf.cli.places import describe, tell
from kvmbpf.kernel.rights import require
from kvmbpf.manager.record import DeviceRecord, Limits
from kvmbpf.manager.run import Wanted, run
from kvmbpf.manager.store import Store
from kvmbpf.model.vm_name import check_vm_name, shown


class DeviceOption(ParamType[Wanted]):
    """An object's file, and perhaps places: ``FILE[,at=ADDRESS]...[,gsi=GSI]...``."""

    name = "device"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Wanted:
        """Return what a text asks for; ``,,`` stands for a comma of the file's name."""
        if isinstance(value, Wanted):
            return value
        path, *places = (
            item.replace("\0", ",") for item in str(value).replace(",,", "\0").split(",")
        )
        if not path:
            self.fail("no file in it; write FILE[,at=ADDRESS][,gsi=GSI]", param, ctx)
        found: dict[str, list[int]] = {"at": [], "gsi": []}
        for item in places:
            name, equals, number = item.partition("=")
            if not equals or name not in found:
                self.fail(f"{item!r}: what may follow is at=ADDRESS or gsi=GSI", param, ctx)
            found[name].append(Number().convert(number, param, ctx))
        return Wanted(Path(path), tuple(found["at"]) or None, tuple(found["gsi"]) or None)


@click.command(
    name="run",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option(
    "--device",
    "wanted",
    metavar="FILE[,at=ADDRESS][,gsi=GSI]",
    type=DeviceOption(),
    multiple=True,
    required=True,
    help="A device to attach; may be given more than once. at= and gsi= place it by hand: "
    "one at= a region, one gsi= an irq.",
)
@NAME
@MAX_FAULTS
@MAX_RUN
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run_command(
    wanted: tuple[Wanted, ...],
    vm: str | None,
    max_faults: int | None,
    max_run_ns: int | None,
    command: tuple[str, ...],
) -> int:
    """Start a stock QEMU with devices attached, and stay until it ends.

    \b
    kvmbpf run --device mydev.bpf.o -- qemu-system-x86_64 -M q35,accel=kvm ...

    QEMU starts stopped, the devices are attached, then the guest runs. An ACPI
    table or a device tree tells it of them. What follows -- goes to QEMU as it is. A
    reset of the guest resets the devices. Ctrl-C ends QEMU, and with it the guest.
    Level-triggered interrupts need kernel-irqchip=on, the default of q35 and pc.
    """  # noqa: D301 (\b is click's mark for text that is not to be wrapped)
    if vm is not None:
        check_vm_name(vm)
    require("kvmbpf run", "CAP_BPF", "CAP_PERFMON")
    limits = Limits(max_faults, max_run_ns)
    return run(Store(), wanted, command, vm=vm, limits=limits, report=_report, tell=tell)


def _report(record: DeviceRecord) -> None:
    tell(
        f"attached to VM {shown(record.vm)} (pid {record.pid}), backend {record.backend}: "
        f"{describe(record)}"
    )
