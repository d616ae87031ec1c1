# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf bench``: the cost of an access on each path."""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from kvmbpf.bench import OPPONENTS, PATHS, AccessPath, Measurement, Parts, Report, measure

UNSUPPORTED = "not supported by this kernel"

_ERASE_LINE = "\r\033[K"


class PathName(click.ParamType[AccessPath]):
    """A path by its name, in any case."""

    name = "path"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> AccessPath:
        """Return the path of a name."""
        asked = str(value).casefold()
        found = next((path for path in PATHS if path.name.casefold() == asked), None)
        if found is None:
            names = "; ".join(path.name for path in PATHS)
            self.fail(f"{value!r} is none of: {names}", param, ctx)
        return found


def _help() -> str:
    """Return what `kvmbpf bench --help` says, with the paths there are."""
    return "\n\n".join(
        (
            "Measure what an access of a bare-metal guest costs.",
            "Each way to answer it is put beside its opponents: an ioeventfd in the "
            "kernel, and an exit to a VMM that does the least a VMM can do. Figures are "
            "exact under `kvmbpf lab run --icount`, where a nanosecond is an "
            "instruction; elsewhere only the ratios of one run mean anything.",
            "\b\nPaths:\n" + "\n".join(f"  {path.name}" for path in PATHS),
        )
    )


def _times(
    name: str, default: int, what: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return an option that is a number, of at least 1."""
    at_least_1 = click.IntRange(min=1)
    return click.option(name, default=default, show_default=True, type=at_least_1, help=what)


@click.command(help=_help(), short_help="Measure the cost of an access on each path.")
@click.option(
    "--path",
    "chosen",
    metavar="NAME",
    type=PathName(),
    multiple=True,
    help="Measure this path, and the loop alone; may be given more than once.  [default: all]",
)
@_times("--count", 10_000, "Accesses: a round makes so many, and then twice as many.")
@_times("--rounds", 3, "Rounds a path; their median is shown.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every round.")
def bench(chosen: tuple[AccessPath, ...], count: int, rounds: int, as_json: bool) -> None:
    """Measure what an access costs (the help is made above)."""
    paths = [path for path in PATHS if path in chosen] if chosen else PATHS
    terminal = sys.stderr.isatty()
    with tempfile.TemporaryDirectory(prefix="kvmbpf-") as directory:
        try:
            report = measure(
                paths,
                Parts(Path(directory)),
                count=count,
                rounds=rounds,
                progress=_show_progress if terminal else lambda _: None,
            )
        finally:
            if terminal:
                click.echo(_ERASE_LINE, nl=False, err=True)
    click.echo(json.dumps(report.to_json(), indent=1) if as_json else table(report))


def _show_progress(name: str) -> None:
    click.echo(f"{_ERASE_LINE}measuring {name} ...", nl=False, err=True)


def table(report: Report) -> str:
    """Return a report as text, a block for each thing that the guest does."""
    titles = (report.unit, *(f"x {name}" for name in OPPONENTS), "spread")
    lines = [_line("path", *titles)]
    for _, group in itertools.groupby(report.measurements, lambda found: found.path.group):
        lines += ["", *(_row(report, found) for found in group)]
    return "\n".join(lines)


def _row(report: Report, found: Measurement) -> str:
    if not found.supported:
        return f"{found.path.name:<26}{UNSUPPORTED}"
    ratios = report.ratios(found)
    compared = (f"{ratios[name]:.3f}" if name in ratios else "" for name in OPPONENTS)
    return _line(found.path.name, f"{found.ns:.1f}", *compared, f"{found.spread:.2%}")


def _line(name: str, figure: str, *others: str) -> str:
    cells = zip(others, (14, 10, 10), strict=True)
    return f"{name:<24}{figure:>14}" + "".join(f"{cell:>{width}}" for cell, width in cells)
