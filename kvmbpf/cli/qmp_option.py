# SPDX-License-Identifier: GPL-2.0-or-later
"""``--qmp``: the socket on which a QEMU serves QMP, as its user says it."""

from __future__ import annotations

import re
from pathlib import Path

import click

from kvmbpf.cli.paramtype import ParamType
from kvmbpf.errors import VmmError
from kvmbpf.model.vm_name import printable
from qemu_glue.address import LISTEN, AbstractSocket, Address
from qemu_glue.commandline import unix_address

_TCP = re.compile(r"tcp:|telnet:|[^/]*:[0-9]+$")


class QmpSocket(ParamType[Address]):
    """A UNIX socket: its path, ``@NAME`` of an abstract one, or ``unix:...`` as for -qmp."""

    name = "socket"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address:
        """Return the socket's address.

        :raise VmmError: when it is one of TCP.
        """
        if isinstance(value, Path | AbstractSocket):
            return value
        text = str(value)
        found: Address | None = Path(text) if text else None
        if text.startswith("@"):
            found = AbstractSocket(text[1:]) if text != "@" else None
        elif text.startswith("unix:"):
            found = unix_address(text.removeprefix("unix:"))
        elif _TCP.match(text) and not Path(text).exists():
            raise VmmError(
                f"QMP socket {printable(text)}: TCP does not tell which process serves it; give "
                f"QEMU a UNIX socket ({LISTEN}), or say which VM with --pid"
            )
        if found is None:
            self.fail(f"{text!r} names no socket; write PATH, or @NAME", param, ctx)
        return found


QMP = click.option(
    "--qmp",
    metavar="SOCKET",
    type=QmpSocket(),
    help="A QMP socket of the VMM: its path, or @NAME of an abstract one; gives the pid.",
)
