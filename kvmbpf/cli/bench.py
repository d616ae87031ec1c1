# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf bench``: the cost of an access on each path."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path

import click

from kvmbpf.bench import EMPTY_LOOP, EMPTY_LOOP_INSTRUCTIONS, PATHS, Measurement, measure
from kvmbpf.compile import compile_shipped

BASELINE = "MMIO write, ioeventfd"


@click.command()
@click.option("--count", default=10_000, show_default=True, type=click.IntRange(min=1))
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(min=1))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def bench(count: int, rounds: int, as_json: bool) -> None:
    """Measure an access of a bare-metal guest to what answers it in the kernel.

    Exact under `kvmbpf lab run --icount`, where a nanosecond is an instruction.
    """
    with tempfile.TemporaryDirectory(prefix="kvmbpf-") as directory:
        bench_object = compile_shipped("bench/bench", Path(directory))
        results = [measure(name, bench_object, count=count, rounds=rounds) for name in PATHS]
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(result) for result in results], indent=1))
        return
    by_path = {result.path: result for result in results}
    unit = "instructions" if counts_instructions(by_path[EMPTY_LOOP]) else "ns"
    click.echo(f"{'path':<24}{unit + ' a round':>24}{'x ioeventfd':>14}{'spread':>10}")
    for result in results:
        click.echo(
            f"{result.path:<24}{result.ns:>24.1f}"
            f"{result.ns / by_path[BASELINE].ns:>14.3f}{result.spread:>10.2%}"
        )


def counts_instructions(empty: Measurement) -> bool:
    """Tell whether a nanosecond is an instruction, by a loop whose length is known."""
    return abs(empty.ns - EMPTY_LOOP_INSTRUCTIONS) < 0.05 * EMPTY_LOOP_INSTRUCTIONS
