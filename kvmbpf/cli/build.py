# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf build``: compile devices.

Needs clang and no privilege. An object is read back before it gets its name,
so that what is built can be inspected, attached and run.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from kvmbpf.author.compile import compile_device, find_clang, object_name
from kvmbpf.cli.verbose import show_log
from kvmbpf.errors import BadFileError
from kvmbpf.model.objfile import read_device


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path())
@click.option("-o", "out", metavar="OUT", type=click.Path(), help="The object, or a folder.")
@click.option("--werror", is_flag=True, help="Take a warning for an error.")
@click.pass_context
def build(ctx: click.Context, files: tuple[str, ...], out: str | None, werror: bool) -> None:
    """Compile each device's source FILE.

    The object is FILE less .c plus .o, beside it unless OUT says where. Equal
    sources give equal objects. All files are compiled, whatever becomes of the
    others; the exit status is that of the first error.
    """
    if out is not None and len(files) > 1 and not Path(out).is_dir():
        raise click.UsageError(f"{len(files)} files and one OUT: `{out}` is not a folder")
    find_clang()
    status = 0
    for file in files:
        try:
            output = _output(Path(file), out)
            compile_device(
                file,
                output,
                warnings_are_errors=werror,
                warn=lambda text: click.echo(text, err=True, nl=False),
                check=read_device,
            )
        except BadFileError as error:
            show_log(ctx, error)
            click.echo(f"kvmbpf: {error}", err=True)
            status = status or error.exit_code
        else:
            click.echo(f"built {output}", err=_is_standard_output(output))
    ctx.exit(status)


def _output(source: Path, out: str | None) -> Path:
    """Return where a source's object goes."""
    if out is None:
        return source.with_name(object_name(source))
    if Path(out).is_dir():
        return Path(out) / object_name(source)
    if source.exists() and Path(out).exists() and source.samefile(out):
        raise BadFileError(source, "OUT is the source itself, expected another name")
    return Path(out)


def _is_standard_output(output: Path) -> bool:
    """Tell whether the object went where this command's own words go."""
    try:
        return os.path.samestat(output.stat(), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):  # gone already, or there is no descriptor
        return False
