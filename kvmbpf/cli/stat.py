# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf stat``: how much is going on in devices, once or for as long as one looks."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time

import click

from kvmbpf.cli.options import AS_NDJSON, NAME, WHICH, Seconds
from kvmbpf.cli.streaming import run_until_stopped
from kvmbpf.cli.table import line
from kvmbpf.manager import Store
from kvmbpf.manager.counters import Activity, Counter
from kvmbpf.model.vm_name import shown

SCHEMA = 1
_ONCE_S = 1.0
_HEAD = (
    *("VM", "DEVICE", "READS/S", "WRITES/S", "NS/ACCESS"),
    *("DECLINES/S", "FAULTS/S", "PROGRAMS"),
)
_WIDTHS = (10, 16, 10, 10, 10, 10, 9, 8)
_RIGHT = (2, 3, 4, 5, 6)


@click.command(name="stat")
@click.argument("device", metavar="[DEVICE]", required=False)
@NAME
@WHICH
@click.option(
    "--interval",
    metavar="S",
    type=Seconds(),
    help="Go on, with a line for each device every S seconds.",
)
@click.option(
    "--count", metavar="N", type=click.IntRange(min=1), help="Stop after N times; with --interval."
)
@AS_NDJSON
def stat_command(
    device: str | None,
    vm: str | None,
    pid: int | None,
    interval: float | None,
    count: int | None,
    as_json: bool,
) -> int:
    """Show the rates of accesses to DEVICE, or to all devices.

    Without --interval, of one second. The kernel counts while this command looks,
    for all BPF programs of the host, which costs each of them some nanoseconds a
    call. Declines and faults, and whether the programs are ejected, are KVM's: "-"
    where this process has no right to ptrace the VMM.
    """
    if interval is None and count is not None:
        raise click.UsageError("--count goes with --interval")
    times = 1 if interval is None else count

    def body() -> None:
        with Counter(Store(), device, vm=vm, pid=pid) as counter:
            _show(counter, interval or _ONCE_S, times, as_json)

    return run_until_stopped(body)


def _show(counter: Counter, interval_s: float, times: int | None, as_json: bool) -> None:
    shown = 0  # lines since the last header
    done = 0
    while times is None or done < times:
        time.sleep(interval_s)
        found = counter.sample()
        done += 1
        if as_json:
            for activity in found:
                click.echo(json.dumps(_as_json(activity)))
            continue
        if not found:
            click.echo("no devices attached")
            continue
        screen = max(shutil.get_terminal_size().lines - 2, 1)
        for activity in found:
            if shown % screen == 0:
                click.echo(line(_HEAD, _WIDTHS, right=_RIGHT))
            click.echo(line(_row(activity), _WIDTHS, right=_RIGHT))
            shown += 1


def _row(activity: Activity) -> tuple[str, ...]:
    mean = activity.ns_per_access
    return (
        shown(activity.vm),
        activity.device,
        f"{activity.reads_per_s:.0f}",
        f"{activity.writes_per_s:.0f}",
        "-" if mean is None else f"{mean:.0f}",
        _rate(activity.declines, activity.seconds),
        _rate(activity.faults, activity.seconds),
        {None: "-", False: "work", True: "EJECTED"}[activity.ejected],
    )


def _rate(number: int | None, seconds: float) -> str:
    return "-" if number is None else f"{number / seconds:.0f}"


def _as_json(activity: Activity) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "time": round(time.time(), 3),
        **dataclasses.asdict(activity),
        "reads_per_s": activity.reads_per_s,
        "writes_per_s": activity.writes_per_s,
        "ns_per_access": activity.ns_per_access,
    }
