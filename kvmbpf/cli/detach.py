# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf detach``: take a device away from a running VM."""

from __future__ import annotations

import dataclasses
import json

import click

from kvmbpf.cli.options import AS_JSON, DEVICE, NAME, WHICH
from kvmbpf.manager import Store, detach
from kvmbpf.model.vm_name import shown

SCHEMA = 1


@click.command(name="detach")
@DEVICE
@NAME
@WHICH
@AS_JSON
def detach_command(device: str, vm: str | None, pid: int | None, as_json: bool) -> None:
    """Take DEVICE away: its accesses go to the VMM again."""
    done = detach(Store(), device, vm=vm, pid=pid)
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, "detached": dataclasses.asdict(done)}, indent=1))
        return
    process = f" (pid {done.pid})" if done.pid is not None else ""
    click.echo(f"detached {done.device} from VM {shown(done.vm)}{process}")
