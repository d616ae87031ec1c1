# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf lab``: build the patched kernel, boot it, run a command in it."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import click

from kvmbpf.errors import LabError
from kvmbpf.lab import LabRun, choose_accelerator, ensure_kernel, kernel_complaints, load_series
from kvmbpf.lab.kernel import finished_kernels, make_plan, read_kernel


@click.group()
def lab() -> None:
    """Build and boot the patched kernel."""


@lab.command()
def build() -> None:
    """Build the lab's kernel, unless the cache has it."""
    kernel = ensure_kernel()
    click.echo(f"{kernel.release} {kernel.key} {kernel.build_tree}")


@lab.command(context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@click.option("--icount", is_flag=True, help="Count instructions: one CPU, 1 ns = 1 instruction.")
@click.option(
    "--rw",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder that stays writable.  [default: the current one]",
)
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds for all.")
@click.option("--cpus", type=click.IntRange(1, 16), default=2, show_default=True)
@click.option("--memory", default="3G", show_default=True, help="As QEMU's -m takes it.")
@click.option(
    "--dmesg",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the lab's kernel log to this file.",
)
@click.option("--strict", is_flag=True, help="Fail when the lab's kernel logs a bug or a warning.")
@click.argument("command", nargs=-1, required=True)
@click.pass_context
def run(
    ctx: click.Context,
    icount: bool,
    rw: Path | None,
    timeout: float | None,
    cpus: int,
    memory: str,
    dmesg: Path | None,
    strict: bool,
    command: tuple[str, ...],
) -> None:
    """Run COMMAND in the lab; its output and exit status are this command's.

    The lab sees this machine's files. It can write below the --rw folder; what
    it writes to /etc, /home, /root, /srv, /tmp and /var is gone when it ends.
    """
    # A polite kill must end the lab as Ctrl-C does: through the context manager.
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))
    kernel = ensure_kernel()
    with LabRun(kernel, command, rw=rw, icount=icount, cpus=cpus, memory=memory) as started:
        result = started.wait(timeout)
    if dmesg is not None:
        dmesg.write_text(result.dmesg, encoding="utf-8")
    complaints = kernel_complaints(result.dmesg)
    if strict and complaints:
        raise LabError(f"the lab's kernel complained: {complaints[0]}")
    ctx.exit(result.status)


@lab.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """Show which kernel the lab uses, whether it is built, and what it boots under."""
    plan = make_plan(load_series())
    kernel = read_kernel(plan.folder)
    accelerator = choose_accelerator()
    facts: dict[str, object] = {
        "key": plan.key,
        "source": plan.source.identity,
        "patches": [patch.name for patch in plan.series.patches],
        "cached": kernel is not None,
        "folder": str(plan.folder),
        "release": kernel.release if kernel else None,
        "image_bytes": kernel.bzimage.stat().st_size if kernel else None,
        "folder_bytes": _folder_bytes(plan.folder) if kernel else None,
        "build_s": kernel.build_s if kernel else None,
        "boots_under": accelerator.name,
        "because": accelerator.reason,
        "cached_kernels": [other.key for other in finished_kernels()],
    }
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        text = ", ".join(value) if isinstance(value, list) else value
        click.echo(f"{name.replace('_', ' '):15} {'-' if text in (None, '') else text}")


def _folder_bytes(folder: Path) -> int:
    """Return what a folder takes on disk, in bytes."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))
