# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``kvmbpf dt`` and ``kvmbpf acpi`` share: what they are asked for, and how they answer.

Reads object files only: no privilege, no libbpf, no QEMU.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from kvmbpf.cli.options import AT, GSI
from kvmbpf.model.objfile import read_device
from kvmbpf.model.placement import Firmware, MachineProfile, Placed, place
from kvmbpf.model.spec import DeviceSpec
from kvmbpf.writing import write_output

Decorator = Callable[[Callable[..., None]], Callable[..., None]]

# A machine of which nothing is known: whoever gives no --machine gives the places.
_BY_HAND = MachineProfile(
    name="a machine that is not named",
    window_gpa=0,
    window_bytes=0,
    window_port=0,
    window_ports=0,
    gsis=(),
    firmware=Firmware.DEVICE_TREE,
    firmware_irqs=True,
)


@dataclass(frozen=True)
class Request:
    """What a command is asked for.

    :param files: object files.
    :param profile: the machine that has room; None for none.
    :param gpas: address or first port of each region, through all files.
    :param gsis: interrupt of each irq, through all files.
    :param form: the output's format.
    :param output: the file that it goes to; None is standard output.
    """

    files: Sequence[Path]
    profile: MachineProfile | None
    gpas: Sequence[int]
    gsis: Sequence[int]
    form: str
    output: Path | None

    def place(self) -> list[Placed]:
        """Return the devices of the files, each at its place.

        :raise BadFileError: when a file is no device object.
        :raise PlacementError: when a device does not fit.
        :raise click.UsageError: when it is not said where a device is.
        """
        gpas, gsis = self.gpas, self.gsis
        placed: list[Placed] = []
        for file in self.files:
            spec = read_device(file)
            own_gpas, gpas = gpas[: len(spec.regions)], gpas[len(spec.regions) :]
            own_gsis, gsis = gsis[: len(spec.irqs)], gsis[len(spec.irqs) :]
            if self.profile is None:
                _check_said(file, spec, own_gpas, own_gsis)
            profile = self.profile or _BY_HAND
            placed.append(place(spec, profile, own_gpas or None, own_gsis or None, taken=placed))
        if gpas or gsis:
            raise click.UsageError("more --at or --gsi than the devices have regions or irqs")
        return placed

    def emit(self, content: str | bytes, text_form: str) -> None:
        """Write text or bytes to the file, or to standard output unless that is a terminal's.

        :param text_form: the format that is text, for whoever has a terminal.
        :raise BadFileError: when the file cannot be written.
        :raise click.UsageError: when bytes would go to a terminal.
        """
        if self.output is not None:
            write_output(self.output, content if isinstance(content, bytes) else content.encode())
        elif isinstance(content, bytes) and sys.stdout.isatty():
            raise click.UsageError(
                "this is a terminal, and the output is binary: "
                f"add -o FILE, or --format {text_form}"
            )
        else:
            click.echo(content, nl=False)


def asks(machines: Mapping[str, MachineProfile], forms: Mapping[str, str], said: str) -> Decorator:
    """Return what gives a command the shared arguments and options, as a `Request`.

    :param machines: those that ``--machine`` may name.
    :param forms: suffix of a file, as ``.dtb``, and its format; the first is the default.
    :param said: what the formats are, for the help.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def asked(
            files: tuple[Path, ...],
            machine: str | None,
            gpas: tuple[int, ...],
            gsis: tuple[int, ...],
            form: str | None,
            output: Path | None,
            **own: object,
        ) -> None:
            profile = machines[machine] if machine else None
            form = form or _form_of(output, forms)
            command(Request(files, profile, gpas, gsis, form, output), **own)

        given: Callable[..., None] = asked
        for option in reversed(_options(machines, forms, said)):
            given = option(given)
        return given

    return decorate


def _options(
    machines: Mapping[str, MachineProfile], forms: Mapping[str, str], said: str
) -> tuple[Decorator, ...]:
    default = next(iter(forms.values()))
    path = click.Path(path_type=Path)
    return (
        click.argument("files", metavar="FILE...", nargs=-1, required=True, type=path),
        click.option(
            "--machine",
            type=click.Choice(list(machines)),
            help="Place what is not given with --at and --gsi where this machine has room.",
        ),
        AT,
        GSI,
        click.option(
            "--format",
            "form",
            type=click.Choice(list(forms.values())),
            help=f"{said}  [default: by the suffix of OUT, else {default}]",
        ),
        click.option("-o", "--output", metavar="OUT", type=path, help="Write to this file."),
    )


def _form_of(output: Path | None, forms: Mapping[str, str]) -> str:
    """Return the format that a file's suffix says, or the default."""
    by_suffix = forms.get(output.suffix) if output is not None else None
    return by_suffix or next(iter(forms.values()))


def _check_said(file: Path, spec: DeviceSpec, gpas: Sequence[int], gsis: Sequence[int]) -> None:
    free = [region for region in spec.regions if region.base is None]
    if free and not gpas:
        raise click.UsageError(
            f"{file}: where is {spec.name}? give --machine, or --at for each of its "
            f"{len(spec.regions)} regions"
        )
    if spec.irqs and not gsis:
        raise click.UsageError(
            f"{file}: where are {spec.name}'s interrupts? give --machine, or --gsi for each of "
            f"its {len(spec.irqs)} irqs"
        )
