# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``kvmbpf dt`` and ``kvmbpf acpi`` share: where devices are, where output goes.

Reads object files only: no privilege, no libbpf, no QEMU.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from kvmbpf.cli.options import Number
from kvmbpf.errors import BadFileError
from kvmbpf.objfile import read_device
from kvmbpf.placement import Firmware, MachineProfile, Placed, place
from kvmbpf.spec import DeviceSpec

Command = TypeVar("Command", bound=Callable[..., Any])

# A machine of which nothing is known: whoever gives no --machine gives the places.
_BY_HAND = MachineProfile(
    name="a machine that is not named",
    window_gpa=0,
    window_bytes=0,
    window_port=0,
    window_ports=0,
    gsis=(),
    gsi_end=1 << 32,
    firmware=Firmware.DEVICE_TREE,
    firmware_irqs=True,
)


FILES = click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
AT = click.option(
    "--at",
    "places",
    metavar="ADDRESS",
    type=Number(),
    multiple=True,
    help="Where a region is: its address, or its first port; once a region, through all files.",
)
GSI = click.option(
    "--gsi",
    "gsis",
    metavar="N",
    type=Number(),
    multiple=True,
    help="The interrupt of an irq; once an irq, through all files.",
)
OUTPUT = click.option(
    "-o", "--output", metavar="OUT", type=click.Path(path_type=Path), help="Write to this file."
)


def machine_option(profiles: Mapping[str, MachineProfile]) -> Callable[[Command], Command]:
    """Return the option that names one of these machines."""
    return click.option(
        "--machine",
        type=click.Choice(list(profiles)),
        help="Place what is not given with --at and --gsi where this machine has room.",
    )


def place_all(
    files: Sequence[Path],
    profile: MachineProfile | None,
    places: Sequence[int],
    gsis: Sequence[int],
) -> list[Placed]:
    """Return the devices of some object files, each at its place.

    :param profile: the machine that has room; None for none.
    :param places: address or first port of each region, through all files.
    :param gsis: interrupt of each irq, through all files.
    :raise BadFileError: when a file is no device object.
    :raise PlacementError: when a device does not fit.
    :raise click.UsageError: when it is not said where a device is.
    """
    placed: list[Placed] = []
    for file in files:
        spec = read_device(file)
        own_places, places = places[: len(spec.regions)], places[len(spec.regions) :]
        own_gsis, gsis = gsis[: len(spec.irqs)], gsis[len(spec.irqs) :]
        if profile is None:
            _check_said(file, spec, own_places, own_gsis)
        placed.append(
            place(spec, profile or _BY_HAND, own_places or None, own_gsis or None, taken=placed)
        )
    if places or gsis:
        raise click.UsageError("more --at or --gsi than the devices have regions or irqs")
    return placed


def _check_said(file: Path, spec: DeviceSpec, places: Sequence[int], gsis: Sequence[int]) -> None:
    free = [region for region in spec.regions if region.base is None]
    if free and not places:
        raise click.UsageError(
            f"{file}: where is {spec.name}? give --machine, or --at for each of its "
            f"{len(spec.regions)} regions"
        )
    if spec.irqs and not gsis:
        raise click.UsageError(
            f"{file}: where are {spec.name}'s interrupts? give --machine, or --gsi for each of "
            f"its {len(spec.irqs)} irqs"
        )


def read_base(file: Path, limit_bytes: int = 16 << 20) -> bytes:
    """Return a file's content, or somewhat more of it than a device tree can be.

    :raise BadFileError: when it cannot be read.
    """
    try:
        with file.open("rb") as opened:
            return opened.read(limit_bytes + 1)
    except OSError as error:
        raise BadFileError(file, f"cannot be read: {error.strerror}") from error


def emit(content: str | bytes, output: Path | None, hint: str) -> None:
    """Write text or bytes to a file, or to standard output unless that is a terminal's.

    :param output: the file; None is standard output.
    :param hint: how to have text instead of bytes.
    :raise BadFileError: when the file cannot be written.
    :raise click.UsageError: when bytes would go to a terminal.
    """
    if output is not None:
        try:
            output.write_bytes(content if isinstance(content, bytes) else content.encode())
        except OSError as error:
            raise BadFileError(output, f"cannot be written: {error.strerror}") from error
    elif isinstance(content, bytes) and sys.stdout.isatty():
        raise click.UsageError(f"this is a terminal, and the output is binary: {hint}")
    else:
        click.echo(content, nl=False)


def chosen_format(given: str | None, output: Path | None, suffixes: Mapping[str, str]) -> str:
    """Return the output's format: what is given, or goes by the file's suffix.

    :param suffixes: suffix of a file, as ``.dtb``, and its format; the first is the default.
    """
    if given is not None:
        return given
    by_suffix = suffixes.get(output.suffix) if output is not None else None
    return by_suffix or next(iter(suffixes.values()))
