# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf new``: a folder to begin a device in."""

from __future__ import annotations

import os
from pathlib import Path

import click

from kvmbpf.author.scaffold import make_device


@click.command()
@click.argument("name")
@click.option(
    "--dir",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="The folder to make; NAME in this one otherwise.",
)
def new(name: str, folder: Path | None) -> None:
    """Make a folder with a device NAME that works, its test and a README."""
    folder = folder or Path(name)
    for path in make_device(name, folder):
        click.echo(f"made {path}")
    click.echo("next:")
    click.echo(f"  cd {os.fspath(folder)}")
    click.echo(f"  kvmbpf build {name}.bpf.c")
    click.echo("  python -m pytest")
