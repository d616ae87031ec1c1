# SPDX-License-Identifier: GPL-2.0-or-later
"""Options and arguments that several commands share, so that they read alike."""

from __future__ import annotations

import re
from pathlib import Path

import click

from kvmbpf.cli.paramtype import ParamType
from kvmbpf.model.vm_name import as_said

OBJECT = click.argument("path", metavar="OBJECT", type=click.Path(path_type=Path))
DEVICE = click.argument("device", metavar="DEVICE")


class VmName(ParamType[str]):
    """A VM's name: any text, as QEMU takes it."""

    name = "name"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the name as /proc has it."""
        return as_said(str(value))


NAME = click.option("--vm", metavar="NAME", type=VmName(), help="The VM's name.")
WHICH = click.option(
    "--pid",
    type=click.IntRange(min=1),
    help="Its VMM's process id, where VMs of one name have the device.",
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
AS_NDJSON = click.option(
    "--json", "as_json", is_flag=True, help="Print NDJSON: one JSON object a line."
)
# What an `OrNone` is where there is to be no limit.
NONE = "none"

_TIME = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s)")
_SHORTEST_S, _LONGEST_S = 0.01, 366 * 86400.0
_LONGEST_NS = (1 << 64) - 1
_UNITS_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}


class Number(ParamType[int]):
    """A number, decimal or as 0x..., not negative."""

    name = "number"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return the number that a text says."""
        if isinstance(value, int):
            return value
        try:
            number = int(str(value), 0)
        except ValueError:
            self.fail(f"{value!r} is not a number; write 0xfef00000 or the like", param, ctx)
        if number < 0:
            self.fail(f"{value!r} is negative", param, ctx)
        return number


class Nanoseconds(ParamType[int]):
    """A time with its unit, as 500us or 2ms."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return the time in ns that a text says."""
        if isinstance(value, int):
            return value
        match = _TIME.fullmatch(str(value))
        if match is None:
            self.fail(f"{value!r} is no time; write 500us, 2ms or the like", param, ctx)
        time_ns = round(float(match[1]) * _UNITS_NS[match[2]])
        if time_ns > _LONGEST_NS:
            self.fail(f"{value!r} is more than {_LONGEST_NS} ns", param, ctx)
        return time_ns


class Seconds(ParamType[float]):
    """A time in seconds, a fraction or not, of at least 0.01 s and at most a year."""

    name = "seconds"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the seconds that a text says."""
        try:
            seconds = float(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        if not _SHORTEST_S <= seconds <= _LONGEST_S:  # nor is nan
            self.fail(f"{value!r} is not from {_SHORTEST_S} to {_LONGEST_S:.0f} s", param, ctx)
        return seconds


class OrNone(ParamType[int | str]):
    """What another type takes, or ``none``, which stays `NONE`.

    :param kind: the other type.
    """

    def __init__(self, kind: ParamType[int]) -> None:
        self.name = kind.name
        self._kind = kind

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        """Return what a text says."""
        return NONE if value == NONE else self._kind.convert(value, param, ctx)


# For the commands that place devices.
AT = click.option(
    "--at",
    "--gpa",
    "gpas",
    metavar="ADDRESS",
    type=Number(),
    multiple=True,
    help="Place a region there: its address, or its first port. Once a region, in their order.",
)
GSI = click.option(
    "--gsi",
    "gsis",
    metavar="GSI",
    type=Number(),
    multiple=True,
    help="Wire an irq there. Once an irq, in their order.",
)

# What `kvmbpf.manager.Limits` takes; the last number is the kernel's for none.
FAULTS = click.IntRange(0, 0xFFFFFFFE)
MAX_FAULTS = click.option(
    "--max-faults",
    metavar="N",
    type=FAULTS,
    help="Eject the programs after more than N faults; any number without it.",
)
MAX_RUN = click.option(
    "--max-run",
    "max_run_ns",
    metavar="TIME",
    type=Nanoseconds(),
    help="Count each such time (as 500us, 2ms) that one access takes as a fault.",
)
