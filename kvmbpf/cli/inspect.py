# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf inspect``: show what a device object says it is.

Reads the file only: no privilege, no kernel, nothing loaded.
"""

from __future__ import annotations

import json

import click

from kvmbpf.objfile import ObjectInfo, read_object
from kvmbpf.spec import Bus, RegionSpec


@click.command()
@click.argument("file", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(file: str, as_json: bool) -> None:
    """Show what the device object FILE says it is."""
    info = read_object(file)
    click.echo(json.dumps(info.to_json(), indent=2) if as_json else _table(info))


def _unit(region: RegionSpec) -> str:
    return "ports" if region.bus is Bus.PIO else "bytes"


def _table(info: ObjectInfo) -> str:
    spec = info.spec
    rows = [
        ("device", spec.name),
        ("compatible", " ".join(spec.compatible)),
        ("version", str(spec.version)),
    ]
    rows += [
        (
            f"region {region.index}",
            f"{region.bus.name.lower()}  {region.size:#x} {_unit(region)}  "
            f"read {region.read_program}  write {region.write_program}",
        )
        for region in spec.regions
    ]
    rows += [(f"irq {irq.index}", irq.trigger.value) for irq in spec.irqs]
    rows += [
        ("program", f"{item.name}  {item.instructions} instructions  {item.section}")
        for item in info.programs
    ]
    rows += [("map", f"{item.name}  {item.section}") for item in info.maps]
    rows += [("state", f"{item.name}  {item.size} bytes  {item.section}") for item in info.state]
    width = max(len(label) for label, _ in rows) + 2
    return "\n".join(f"{label:<{width}}{value}" for label, value in rows)
