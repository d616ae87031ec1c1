# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf reset``: bring a device to its state after power-on."""

from __future__ import annotations

import click

from kvmbpf.cli.options import DEVICE, NAME, WHICH
from kvmbpf.manager import Store
from kvmbpf.manager.control import reset
from kvmbpf.model.vm_name import shown


@click.command(name="reset")
@DEVICE
@NAME
@WHICH
def reset_command(device: str, vm: str | None, pid: int | None) -> None:
    """Lower the interrupts of DEVICE and run its reset program.

    As when its guest is reset, which `kvmbpf run` and `kvmbpf watch` follow by
    themselves. The guest goes on, and its driver is not told.
    """
    done = reset(Store(), device, vm=vm, pid=pid)
    click.echo(f"reset {done.device} of VM {shown(done.vm)}")
