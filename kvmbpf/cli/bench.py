# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf bench``: the cost of an access on each path, and of a hot update."""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from kvmbpf.bench import (
    HOT_UPDATE,
    OPPONENTS,
    PATHS,
    Disturbance,
    Measurement,
    Parts,
    Report,
    UpdateCost,
    measure,
)
from kvmbpf.cli.paramtype import ParamType

UNSUPPORTED = "not supported by this kernel"

NAMES = (*(path.name for path in PATHS), HOT_UPDATE)

_ERASE_LINE = "\r\033[K"


class PathName(ParamType[str]):
    """What can be measured, by its name in any case."""

    name = "path"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return a name as it is spelt."""
        asked = str(value).casefold()
        found = next((name for name in NAMES if name.casefold() == asked), None)
        if found is None:
            self.fail(f"{value!r} is none of: {'; '.join(NAMES)}", param, ctx)
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
            "The hot update is measured by itself: what it costs, by its steps and as a "
            "command; and how long the guest's accesses take during one.",
            "\b\nPaths:\n" + "\n".join(f"  {name}" for name in NAMES),
        )
    )


def _times(
    name: str, default: int, what: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return an option that is a number, of at least 1."""
    at_least_1 = click.IntRange(min=1)
    return click.option(name, default=default, show_default=True, type=at_least_1, help=what)


@click.command(help=_help(), short_help="Measure the cost of an access, and of a hot update.")
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
def bench(chosen: tuple[str, ...], count: int, rounds: int, as_json: bool) -> None:
    """Measure what an access costs (the help is made above)."""
    paths = [path for path in PATHS if not chosen or path.name in chosen]
    terminal = sys.stderr.isatty()
    with tempfile.TemporaryDirectory(prefix="kvmbpf-") as directory:
        try:
            report = measure(
                paths,
                Parts(Path(directory)),
                count=count,
                rounds=rounds,
                updates=not chosen or HOT_UPDATE in chosen,
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
    if report.updates is not None:
        found_updates = report.updates
        lines += ["", "", *_cost(found_updates.cost, report.unit)]
        lines += ["", "", *_disturbance("between ticks", found_updates.between_ticks, report.unit)]
        lines += _disturbance("with ticks", found_updates.with_ticks, report.unit)[1:]
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


def _cost(found: UpdateCost, unit: str) -> list[str]:
    """Return the lines of what an update takes."""
    rows = {"in all": found.update_ns}
    rows |= {f"  {step}": taken for step, taken in found.steps_ns.items()}
    rows |= {"kvmbpf update FILE": (found.command_ns,), "kvmbpf update --help": (found.help_ns,)}
    return [
        _cells(HOT_UPDATE, unit, "spread"),
        "",
        *(_cells(name, *_median_and_spread(taken)) for name, taken in rows.items()),
    ]


def _median_and_spread(taken: Sequence[int]) -> tuple[str, str]:
    median = statistics.median(taken)
    if len(taken) == 1:
        return f"{median:.0f}", ""
    return f"{median:.0f}", f"{(max(taken) - min(taken)) / median:.2%}"


def _disturbance(name: str, found: Disturbance, unit: str) -> list[str]:
    """Return the lines of what updates do to accesses."""
    lines = [_cells(f"a read, {unit}", "median", "p99.9", "longest", "x p99.9"), ""]
    for when, durations in (("no update", found.without), ("update", found.during)):
        figures = durations.median_ns, durations.p999_ns, durations.longest_ns
        ratio = durations.longest_ns / found.without.p999_ns
        lines.append(_cells(f"{when}, {name}", *(f"{ns:.1f}" for ns in figures), f"{ratio:.3f}"))
    return lines


def _cells(name: str, *others: str) -> str:
    return f"{name:<26}{''.join(f'{cell:>14}' for cell in others)}".rstrip()
