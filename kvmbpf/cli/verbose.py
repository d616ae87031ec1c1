# SPDX-License-Identifier: GPL-2.0-or-later
"""``--verbose``: all that clang, libbpf or the verifier said, before the one line of the error."""

from __future__ import annotations

import click

from kvmbpf.errors import KvmBpfError


def show_log(ctx: click.Context, error: KvmBpfError) -> None:
    """Print an error's log on standard error, where --verbose asks for it.

    :param ctx: of the command, or of the one that it is part of.
    :param error: what the command failed with.
    """
    if error.log and ctx.find_root().params.get("verbose"):
        click.echo(error.log.rstrip(), err=True)
