# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf inspect``: show what a device object says it is, holds and needs.

Reads the file only: no privilege, no kernel, nothing loaded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

import click

from kvmbpf.model.objfile import read_object
from kvmbpf.model.objfile.describe import describe

# A line of the table: what it is about, and its columns.
_Row = tuple[str, tuple[str, ...]]


@click.command()
@click.argument("file", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(file: str, as_json: bool) -> None:
    """Show what the device object FILE says it is, holds and needs."""
    content = describe(read_object(file))
    if as_json:
        click.echo(json.dumps(content, indent=2))
        return
    # On a terminal only; what goes elsewhere, click leaves bare.
    colour = False if os.environ.get("NO_COLOR") else None
    for line in _lines(content):
        click.echo(line, color=colour)


def _lines(content: dict[str, Any]) -> Iterator[str]:
    rows = [*_device(content), *_programs(content), *_maps(content), *_state(content)]
    rows += _needs(content)
    width = max(len(label) for label, _ in rows)
    widths: dict[str, list[int]] = {}
    for label, columns in rows:
        known = widths.setdefault(_group(label), [])
        known += [0] * (len(columns) - len(known))
        # The last column is as long as it is.
        for index, text in enumerate(columns[:-1]):
            known[index] = max(known[index], len(text))
    for label, columns in rows:
        padded = zip(columns, widths[_group(label)], strict=False)
        text = "  ".join(f"{column:<{size}}" for column, size in padded).rstrip()
        yield f"{click.style(f'{label:<{width}}', fg='cyan')}  {text}".rstrip()


def _group(label: str) -> str:
    """Return what rows have in common whose columns are aligned."""
    return label.split(" ")[0]


def _device(content: dict[str, Any]) -> Iterator[_Row]:
    device = content["device"]
    yield "device", (device["name"],)
    yield "compatible", (" ".join(device["compatible"]),)
    yield "version", (str(device["version"]),)
    flags = [flag for flag in ("resets", "concurrent") if device[flag]]
    if flags:
        yield "flags", (", ".join(flags),)
    for region in device["regions"]:
        yield f"region {region['index']}", _region(region)
    for irq in device["irqs"]:
        yield f"irq {irq['index']}", (irq["trigger"],)
    for item in device["properties"]:
        yield "property", (item["name"], _one_line(item["value"]))


def _region(region: dict[str, Any]) -> tuple[str, ...]:
    unit = "ports" if region["bus"] == "pio" else "bytes"
    place = "" if region["base"] is None else f" at {region['base']:#x}"
    return (
        region["bus"],
        f"{region['size']:#x} {unit}{place}",
        f"read {region['read_program']}",
        f"write {region['write_program']}",
    )


def _programs(content: dict[str, Any]) -> Iterator[_Row]:
    for item in content["programs"]:
        sleeps = ", may sleep" if item["sleepable"] else ""
        columns = (
            item["name"],
            f"{item['instructions']} instructions",
            item["section"],
            f"by {item['entry']}{sleeps}",
        )
        yield "program", columns


def _maps(content: dict[str, Any]) -> Iterator[_Row]:
    for item in content["maps"]:
        parts = []
        if item["key_size"] and item["type"] != "struct_ops":
            parts.append(f"key {item['key_size']} bytes")
        if item["value_size"]:
            typed = f" {item['value_type']}" if item["value_type"] else ""
            parts.append(f"value {item['value_size']} bytes{typed}")
        if item["entries"] and item["type"] != "struct_ops":
            unit = "bytes" if item["type"] in ("ringbuf", "user_ringbuf") else "entries"
            parts.append(f"{item['entries']} {unit}")
        if not item["used"]:
            parts.append("not used")
        yield "map", (item["name"], item["type"] or item["section"], ", ".join(parts))


def _state(content: dict[str, Any]) -> Iterator[_Row]:
    for item in content["state"]:
        place = f"{item['section']}+{item['offset']:#x}"
        yield "state", (place, f"{item['size']} bytes", _declared(item))
        yield from _fields(item["fields"], item["section"], item["offset"] * 8, 1)


def _fields(
    fields: Iterable[dict[str, Any]], section: str, start: int, depth: int
) -> Iterator[_Row]:
    for item in fields:
        offset = start + item["bit_offset"]
        bits = f" bit {offset % 8}" if item["bits"] else ""
        size = f"{item['bits']} bits" if item["bits"] else ""
        yield "state", (f"{section}+{offset // 8:#x}{bits}", size, "  " * depth + _declared(item))
        yield from _fields(item["fields"], section, start, depth + 1)


def _declared(item: dict[str, Any]) -> str:
    """Return a name with its type behind it, as in ``table: __u64[8]``."""
    name = item["name"] or "(no name)"
    return f"{name}: {item['type']}" if item["type"] else name


def _needs(content: dict[str, Any]) -> Iterator[_Row]:
    for kind, found in content["needs"].items():
        if found is None:
            continue
        label = f"needs, {kind}"
        for what in ("struct_ops", "map_types", "types"):
            if found[what]:
                yield label, (what.replace("_", " "), ", ".join(found[what]))
        if found["functions"]:
            names = (
                f"{item['name']}{' (may be missing)' if item['optional'] else ''}"
                for item in found["functions"]
            )
            yield label, ("functions", ", ".join(names))
        if found["kconfig"]:
            yield label, ("kconfig", ", ".join(item["name"] for item in found["kconfig"]))
        if found["helpers"]:
            yield label, ("helpers", ", ".join(item["name"] for item in found["helpers"]))


def _one_line(text: str) -> str:
    """Return the text of a property, which may have line breaks in it."""
    return " ".join(text.split()) if text else "(no value)"
