# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf trace``: a device's accesses, one by one, as NDJSON."""

from __future__ import annotations

import dataclasses
import itertools
import json

import click

from kvmbpf.cli.options import DEVICE, NAME, WHICH, Seconds
from kvmbpf.cli.streaming import run_until_stopped
from kvmbpf.manager import Store
from kvmbpf.manager.info import monotonic_to_wall_s
from kvmbpf.manager.trace import TracedAccess, Tracer


@click.command(name="trace")
@DEVICE
@NAME
@WHICH
@click.option("--count", metavar="N", type=click.IntRange(min=1), help="Stop after N accesses.")
@click.option(
    "--duration",
    metavar="S",
    type=Seconds(),
    help="Stop after S seconds.",
)
def trace_command(
    device: str, vm: str | None, pid: int | None, count: int | None, duration: float | None
) -> int:
    """Print the accesses to DEVICE as they come: one JSON object a line.

    Until Ctrl-C, or the device's end, unless --count or --duration says how long.
    Each access costs some microseconds while it is traced. `time_ns` is
    CLOCK_MONOTONIC, `time` seconds since 1970; `vcpu` is null where the VMM does
    not name its vCPUs' threads.
    """

    def body() -> None:
        with Tracer(Store(), device, vm=vm, pid=pid) as tracer:
            try:
                for access in itertools.islice(tracer.follow(duration), count):
                    click.echo(json.dumps(_as_json(access)))
            finally:
                if tracer.lost:
                    click.echo(
                        f"kvmbpf: at least {tracer.lost} accesses were lost: "
                        "they came faster than they were read",
                        err=True,
                    )

    return run_until_stopped(body)


def _as_json(access: TracedAccess) -> dict[str, object]:
    return {
        "time": round(monotonic_to_wall_s(access.time_ns), 6),
        **dataclasses.asdict(access),
    }
