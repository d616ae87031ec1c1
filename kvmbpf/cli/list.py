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
from kvmbpf.manager import DeviceStatus, Store, device_state, list_devices, without_record

SCHEMA = 1
_HEAD = ("VM", "PID", "DEVICE", "REGIONS", "IRQS", "OBJECT")


@click.command(name="list")
@AS_JSON
def list_command(as_json: bool) -> None:
    """List attached devices; with --json, each with its state."""
    store = Store()
    found = list_devices(store)
    for vm, device, wrong in without_record(store):
        click.echo(f"kvmbpf: device {device} of VM {vm} can only be detached: {wrong}", err=True)
    if as_json:
        devices = [_as_json(store, status) for status in found]
        click.echo(json.dumps({"schema": SCHEMA, "devices": devices}, indent=1))
        return
    if not found:
        click.echo("no devices attached")
        return
    for line in columns([_HEAD, *map(_row, found)]):
        click.echo(line)


def _row(status: DeviceStatus) -> tuple[str, ...]:
    record = status.record
    return (
        record.vm,
        str(record.pid),
        record.device,
        ",".join(map(where, record.regions)),
        ",".join(str(irq.gsi) for irq in record.irqs) or "-",
        Path(status.version.path).name if status.version else "unknown",
    )


def _as_json(store: Store, status: DeviceStatus) -> dict[str, Any]:
    record = status.record
    facts = dataclasses.asdict(record)
    del facts["versions"]
    return {
        **facts,
        "attached": status.attached,
        "object": dataclasses.asdict(status.version) if status.version else None,
        "state": _state(store, status),
    }


def _state(store: Store, status: DeviceStatus) -> dict[str, object] | None:
    """Return the state; None without CAP_SYS_ADMIN, which its types take."""
    if lacking("CAP_SYS_ADMIN"):
        return None
    state = device_state(store, status.record.vm, status.record.device)
    return {name: plain(value) for name, value in state.items()}
