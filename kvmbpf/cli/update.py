# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf update``: replace a device's programs while its guest runs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from kvmbpf.cli.options import AS_JSON, NAME, OBJECT, WHICH
from kvmbpf.errors import LayoutError
from kvmbpf.manager import Store, Update, update
from kvmbpf.model.vm_name import shown

SCHEMA = 1


@click.command(name="update")
@OBJECT
@NAME
@WHICH
@click.option(
    "--dry-run",
    is_flag=True,
    help="Load and verify OBJECT and say what would become of the state; change nothing.",
)
@AS_JSON
def update_command(
    path: Path, vm: str | None, pid: int | None, dry_run: bool, as_json: bool
) -> None:
    """Replace a device's program by that of OBJECT while the guest runs.

    Its state is kept: what both objects have, and lay out alike. Where they have a
    variable in common that they lay out otherwise nothing is changed, and the
    difference is said.
    """
    try:
        done = update(Store(), path, vm=vm, pid=pid, dry_run=dry_run)
    except LayoutError as error:
        if as_json:
            click.echo(json.dumps(_refused(path, error), indent=1))
        elif dry_run:
            for difference in error.differences:
                click.echo(difference)
        raise
    if as_json:
        click.echo(json.dumps(_done(done), indent=1))
        return
    record, carried = done.record, done.carried
    verb, kept = ("updated", "kept") if done.applied else ("would update", "that would be kept")
    click.echo(f"{verb} {record.device} of VM {shown(record.vm)} to {path}")
    click.echo(f"state {kept}: {', '.join(carried.carried) or 'none'}")
    if carried.new:
        click.echo(f"state new: {', '.join(carried.new)}")
    if carried.dropped:
        click.echo(f"state dropped: {', '.join(carried.dropped)}")


def _done(done: Update) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "vm": done.record.vm,
        "device": done.record.device,
        "applied": done.applied,
        "object": {"path": done.version.path, "sha256": done.version.sha256},
        "state": dataclasses.asdict(done.carried),
    }


def _refused(path: Path, error: LayoutError) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "applied": False,
        "object": {"path": str(path.resolve())},
        "refused": str(error),
        "differences": [dataclasses.asdict(difference) for difference in error.differences],
    }
