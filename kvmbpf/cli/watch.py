# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf watch``: follow a VM whose devices were attached before."""

from __future__ import annotations

import contextlib

import click

from kvmbpf.cli.options import VmName
from kvmbpf.cli.places import tell
from kvmbpf.cli.qmp_option import QMP
from kvmbpf.errors import StateError, VmmError
from kvmbpf.kernel.process import LivingProcess
from kvmbpf.manager import Store
from kvmbpf.manager.locate import locate
from kvmbpf.manager.watch import devices_of, watch
from kvmbpf.model.vm_name import shown
from qemu_glue.address import Address


@click.command(name="watch")
@QMP
@click.option(
    "--vm", metavar="NAME", type=VmName(), help="The VM by its name, as `kvmbpf list` shows it."
)
@click.option("--pid", type=click.IntRange(min=1), help="The VMM's process id.")
def watch_command(qmp: Address | None, vm: str | None, pid: int | None) -> None:
    """Follow a VM that has devices, until it ends.

    A reset of the guest resets its devices, and its shutdown takes them away. Ctrl-C
    ends this command only.
    """
    if (qmp is None) == (vm is None and pid is None):
        raise click.UsageError("say which VM: by one of --qmp and --vm, or by --pid")
    store = Store()
    with contextlib.closing(locate(store, pid=pid, qmp=qmp, vm=vm)) as found:
        if found.session is None:
            raise VmmError(
                f"VM {shown(found.name)} (pid {found.pid}) cannot be watched: {found.unchecked}"
            )
        with LivingProcess(found.pid, found.process.start_ticks) as process:
            name = shown(found.name)
            if not devices_of(store, found.name, process):
                raise StateError(f"no device is attached to VM {name}; see `kvmbpf list`")
            tell(f"watching VM {name} (pid {found.pid})")
            watch(store, found.name, process, found.session.path, tell, found.session)
            tell(f"VM {name} {'has no device any more' if process.lives() else 'has ended'}")
