# SPDX-License-Identifier: GPL-2.0-or-later
"""How a command says where a device is."""

from __future__ import annotations

import contextlib

import click

from kvmbpf.manager.record import DeviceRecord
from kvmbpf.model.vm_name import printable


def describe(record: DeviceRecord) -> str:
    """Return what a device is and where it went, in one line."""
    parts = [f"device {record.device} ({' '.join(record.compatible)})"]
    for index, region in enumerate(record.regions):
        where, unit = ("port ", "ports") if region.on_ports else ("", "bytes")
        parts.append(f"region {index} at {where}{region.gpa:#x}, {region.size:#x} {unit}")
    parts += [f"irq {i} on gsi {q.gsi}, {q.trigger}" for i, q in enumerate(record.irqs)]
    return "; ".join(parts)


def tell(sentence: str) -> None:
    """Print a sentence beside what QEMU may print: on standard error, and marked.

    A guest goes on when nobody is left to read it.
    """
    with contextlib.suppress(OSError):
        click.echo(f"kvmbpf: {printable(sentence)}", err=True)
