# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables and lists of facts, as every command prints them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from kvmbpf.manager.record import RegionRecord

Row = tuple[str, ...]


def columns(rows: Sequence[Row], *, right: Sequence[int] = ()) -> list[str]:
    """Return rows as lines whose columns are as wide as their widest cell.

    :param right: the columns whose cells stand to the right, as numbers do.
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [line(row, widths, right=right) for row in rows]


def line(row: Row, widths: Sequence[int], *, right: Sequence[int] = ()) -> str:
    """Return one row as a line."""
    cells = [
        cell.rjust(width) if column in right else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def where(region: RegionRecord) -> str:
    """Say where a region is, in one word."""
    return f"{'io:' if region.on_ports else ''}{region.gpa:#x}+{region.size:#x}"


def moment(seconds: float) -> str:
    """Return a time in seconds since 1970 as a date and time of this place."""
    local = datetime.fromtimestamp(seconds, tz=UTC).astimezone()
    return local.strftime("%Y-%m-%d %H:%M:%S %z")
