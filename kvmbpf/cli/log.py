# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf log``: what a device's programs say."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click

from kvmbpf.cli.options import AS_NDJSON, DEVICE, NAME, WHICH
from kvmbpf.cli.streaming import run_until_stopped
from kvmbpf.manager import Store
from kvmbpf.manager.info import monotonic_to_wall_s
from kvmbpf.manager.log import Listener, Message
from kvmbpf.model.vm_name import printable

SCHEMA = 1
_ONCE_S = 1.0


@click.command(name="log")
@DEVICE
@NAME
@WHICH
@click.option("--follow", is_flag=True, help="Go on until Ctrl-C, or the device's end.")
@AS_NDJSON
def log_command(device: str, vm: str | None, pid: int | None, follow: bool, as_json: bool) -> int:
    """Print what DEVICE says by kvmbpf_log(); without --follow, in one second.

    A device says something only while somebody listens: what was before is not
    kept. One listens at a time.
    """

    def body() -> None:
        with Listener(Store(), device, vm=vm, pid=pid) as listener:
            try:
                for message in listener.follow(None if follow else _ONCE_S):
                    click.echo(_as_json(listener, message) if as_json else _as_text(message))
            finally:
                if listener.lost:
                    click.echo(f"kvmbpf: {listener.lost} messages found no room", err=True)

    return run_until_stopped(body)


def _as_text(message: Message) -> str:
    wall_s = monotonic_to_wall_s(message.time_ns)
    local = datetime.fromtimestamp(wall_s, tz=UTC).astimezone()
    return f"{local:%H:%M:%S.%f} {printable(message.text)}"


def _as_json(listener: Listener, message: Message) -> str:
    return json.dumps(
        {
            "schema": SCHEMA,
            "time": round(monotonic_to_wall_s(message.time_ns), 6),
            "time_ns": message.time_ns,
            "vm": listener.vm,
            "device": listener.device,
            "text": message.text,
        }
    )
