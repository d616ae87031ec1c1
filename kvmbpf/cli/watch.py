# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf watch``: follow a VM whose devices were attached before."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from kvmbpf.cli.attach import QMP
from kvmbpf.cli.places import tell
from kvmbpf.errors import StateError, VmmError
from kvmbpf.manager import Store
from kvmbpf.manager.locate import locate
from kvmbpf.manager.watch import watch
from qemu_glue.follow import LivingProcess


@click.command(name="watch")
@QMP
@click.option("--vm", metavar="NAME", help="The VM by its name, as `kvmbpf list` shows it.")
def watch_command(qmp: Path | None, vm: str | None) -> None:
    """Follow a VM that has devices, until it ends.

    A reset of the guest resets its devices, and its shutdown takes them away. Ctrl-C
    ends this command only.
    """
    if (qmp is None) == (vm is None):
        raise click.UsageError("say which VM: by one of --qmp and --vm")
    store = Store()
    with contextlib.closing(locate(store, pid=None, qmp=qmp, vm=vm)) as found:
        if found.session is None:
            raise VmmError(
                f"VM {found.name} (pid {found.pid}) cannot be watched: {found.unchecked}"
            )
        if not store.devices(found.name):
            raise StateError(f"no device is attached to VM {found.name}; see `kvmbpf list`")
        tell(f"watching VM {found.name} (pid {found.pid})")
        with LivingProcess(found.pid) as process:
            watch(store, found.name, process, found.session.path, tell, found.session)
            tell(f"VM {found.name} {'has no device any more' if process.lives() else 'has ended'}")
