# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf limits``: what a device's programs may cost before KVM ejects them."""

from __future__ import annotations

import dataclasses
import json

import click

from kvmbpf.cli.options import AS_JSON, DEVICE, FAULTS, NAME, NONE, WHICH, Nanoseconds, OrNone
from kvmbpf.manager import Limits, Store
from kvmbpf.manager.control import DeviceLimits, change_limits, device_limits
from kvmbpf.model.vm_name import shown

SCHEMA = 1


@click.command(name="limits")
@DEVICE
@NAME
@WHICH
@click.option(
    "--max-faults",
    metavar="N|none",
    type=OrNone(FAULTS),
    help="Eject the programs after more than N faults; none allows any number.",
)
@click.option(
    "--max-run",
    "max_run_ns",
    metavar="TIME|none",
    type=OrNone(Nanoseconds()),
    help="Count each such time (as 500us, 2ms) that one access takes as a fault; "
    "with none no access is timed.",
)
@AS_JSON
def limits_command(
    device: str,
    vm: str | None,
    pid: int | None,
    max_faults: int | str | None,
    max_run_ns: int | str | None,
    as_json: bool,
) -> None:
    """Show the limits of DEVICE, or set those that are given.

    A limit that is not given stays as it is. Programs that were ejected stay so:
    `kvmbpf update` brings new ones.
    """
    given = {"max_faults": max_faults, "max_run_ns": max_run_ns}
    wanted = {name: _number(value) for name, value in given.items() if value is not None}
    if wanted:
        found = change_limits(
            Store(), device, lambda now: dataclasses.replace(now, **wanted), vm=vm, pid=pid
        )
    else:
        found = device_limits(Store(), device, vm=vm, pid=pid)
    click.echo(json.dumps(_as_json(found), indent=1) if as_json else _line(found))


def _number(value: int | str) -> int | None:
    return None if value == NONE else int(value)


def say_limits(limits: Limits) -> str:
    """Return limits in words."""
    faults = "any number of faults" if limits.max_faults is None else f"{limits.max_faults} faults"
    if limits.max_run_ns is None:
        return f"{faults}, any time"
    return f"{faults}, {limits.max_run_ns} ns an access"


def _line(found: DeviceLimits) -> str:
    said = f"{found.record.device} of VM {shown(found.record.vm)}: {say_limits(found.limits)}"
    said += f"; faults so far: {found.faults}"
    return f"{said}; EJECTED: all accesses are declined" if found.ejected else said


def _as_json(found: DeviceLimits) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "vm": found.record.vm,
        "device": found.record.device,
        "limits": dataclasses.asdict(found.limits),
        "faults": found.faults,
        "ejected": found.ejected,
    }
