# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf list``: what is attached, to which VMs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from kvmbpf.cli.options import AS_JSON
from kvmbpf.cli.table import columns, where
from kvmbpf.kernel.libbpf import plain
from kvmbpf.kernel.rights import lacking
from kvmbpf.manager import DeviceRecord, DeviceStatus, Listed, Store, list_all
from kvmbpf.manager.state import read_state
from kvmbpf.model.vm_name import printable, shown

SCHEMA = 1
_HEAD = ("VM", "PID", "DEVICE", "REGIONS", "IRQS", "OBJECT")


@click.command(name="list")
@AS_JSON
def list_command(as_json: bool) -> None:
    """List attached devices; with --json, each with its state.

    One that cannot be read is listed with the reason.
    """
    store = Store()
    found = list_all(store)
    for one in found:
        if one.status is None and one.attached:
            click.echo(
                f"kvmbpf: device {one.device} of VM {shown(one.vm)} can only be detached: "
                f"{printable(one.unreadable)}",
                err=True,
            )
    if as_json:
        devices = [_as_json(store, one) for one in found]
        click.echo(json.dumps({"schema": SCHEMA, "devices": devices}, indent=1))
        return
    if not found:
        click.echo("no devices attached")
        return
    for line in columns([_HEAD, *map(_row, found)]):
        click.echo(line)


def _row(one: Listed) -> tuple[str, ...]:
    if one.status is None:
        why = f"unreadable: {printable(one.unreadable)}"
        return shown(one.vm), "-", one.device or "-", "-", "-", why
    record, version = one.status.record, one.status.version
    return (
        shown(record.vm),
        str(record.pid),
        record.device,
        ",".join(map(where, record.regions)),
        ",".join(str(irq.gsi) for irq in record.irqs) or "-",
        printable(Path(version.path).name) if version else "unknown",
    )


def _as_json(store: Store, one: Listed) -> dict[str, Any]:
    if one.status is None:
        unknown = dict.fromkeys(field.name for field in dataclasses.fields(DeviceRecord))
        facts: dict[str, Any] = {**unknown, "vm": one.vm, "device": one.device}
        facts |= {"attached": one.attached, "object": None, "state": None}
        facts["unreadable"] = one.unreadable
    else:
        facts = {**dataclasses.asdict(one.status.record), **_now(store, one.status)}
    del facts["versions"]
    return facts


def _now(store: Store, status: DeviceStatus) -> dict[str, Any]:
    """Return what is so now; the state is null without CAP_SYS_ADMIN, which its types take."""
    now = {
        "attached": status.attached,
        "object": dataclasses.asdict(status.version) if status.version else None,
    }
    if lacking("CAP_SYS_ADMIN"):
        return {**now, "state": None, "unreadable": "state: it takes CAP_SYS_ADMIN to read it"}
    state = read_state(store, status.record.home, status.record.device, status.version)
    return {
        **now,
        "state": {one.name: plain(one.value) for one in state.values},
        "unreadable": "; ".join(state.problems) or None,
    }
