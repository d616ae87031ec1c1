# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf lab``: build the patched kernel, boot it, run a command or a shell in it."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from kvmbpf.errors import LabError
from kvmbpf.lab import LabRun, choose_accelerator, ensure_kernel, kernel_complaints, load_series
from kvmbpf.lab.bochs import find_bochs
from kvmbpf.lab.boot import CPUS, DEBUG, PLAIN
from kvmbpf.lab.cache import cache_folder
from kvmbpf.lab.clean import Cleaned, clean_cache, folder_bytes
from kvmbpf.lab.kernel import finished_kernels, make_plan, read_kernel
from kvmbpf.lab.report import Report
from kvmbpf.lab.selftests import (
    PROGRAM_TIMEOUT_S,
    SELFTESTS_VARIABLE,
    build_selftests,
    choose,
    run_selftests,
)
from kvmbpf.lab.shell import run_shell
from kvmbpf.lab.tap import Program
from kvmbpf.lab.tree import SOURCE_VARIABLE
from kvmbpf.lab.vmx import run_on_vmx
from kvmbpf.writing import write_output

# With more kernels than this in the cache, each build says how to get rid of some.
MANY_KERNELS = 4
# A wrong command line, as click has it.
USAGE = 2

Command = Callable[..., Any]
_SECONDS = click.FloatRange(min=0, min_open=True)
_KERNEL_OPTIONS = (
    click.option(
        "--debug", is_flag=True, help="The debug kernel: KASAN, lockdep, kmemleak, fault injection."
    ),
    click.option(
        "--source",
        "tree",
        metavar="DIR",
        envvar=SOURCE_VARIABLE,
        show_envvar=True,
        type=click.Path(path_type=Path),
        help="Build from a copy of this kernel source tree, not from the package.",
    ),
)
_BOOT_OPTIONS = (
    click.option(
        "--cpus",
        type=click.IntRange(1, 16),
        help=f"[default: {CPUS}, or 1 where QEMU's emulation asks for it]",
    ),
    click.option(
        "--memory",
        metavar="SIZE",
        help=f"As QEMU's -m takes it.  [default: {PLAIN.memory}, debug {DEBUG.memory}]",
    ),
    click.option(
        "--boot-timeout",
        type=_SECONDS,
        metavar="SECONDS",
        help="The longest time the boot may take.  "
        f"[default: {PLAIN.boot_timeout_s:g}, debug {DEBUG.boot_timeout_s:g}]",
    ),
)


def _with(*options: Command) -> Callable[[Command], Command]:
    """Give a command several options, shown in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group()
def lab() -> None:
    """Build and boot the patched kernel."""


@lab.command()
@_with(*_KERNEL_OPTIONS)
def build(debug: bool, tree: Path | None) -> None:
    """Build the lab's kernel, unless the cache has it.

    Prints the kernel's release, its key and its build tree.
    """
    kernel = ensure_kernel(debug=debug, tree=tree)
    click.echo(f"{kernel.release} {kernel.key} {kernel.build_tree}")
    there = len(list(finished_kernels()))
    if there > MANY_KERNELS:
        click.echo(
            f"lab: {there} kernels of about 2 GB each are in {cache_folder()}; "
            "`kvmbpf lab clean` removes those that are not used",
            err=True,
        )


@lab.command(context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@_with(*_KERNEL_OPTIONS)
@click.option("--icount", is_flag=True, help="Count instructions: one CPU, 1 ns = 1 instruction.")
@click.option(
    "--rw",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder that stays writable.  [default: the current one]",
)
@click.option("--timeout", type=_SECONDS, metavar="SECONDS", help="The longest time for all.")
@_with(*_BOOT_OPTIONS)
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
    debug: bool,
    tree: Path | None,
    icount: bool,
    rw: Path | None,
    timeout: float | None,
    cpus: int | None,
    memory: str | None,
    boot_timeout: float | None,
    dmesg: Path | None,
    strict: bool,
    command: tuple[str, ...],
) -> None:
    """Run COMMAND in the lab; its output and exit status are this command's.

    The lab sees this machine's files. It can write below the --rw folder; what
    it writes to /etc, /home, /root, /srv, /tmp and /var is gone when it ends.
    """
    _end_when_told()
    kernel = ensure_kernel(debug=debug, tree=tree)
    with LabRun(
        kernel,
        command,
        rw=rw,
        icount=icount,
        cpus=cpus,
        memory=memory,
        boot_timeout_s=boot_timeout,
    ) as started:
        result = started.wait(timeout)
    if dmesg is not None:
        write_output(dmesg, result.dmesg.encode())
    complaints = kernel_complaints(result.dmesg)
    if strict and complaints:
        raise LabError(f"the lab's kernel complained: {complaints[0]}")
    ctx.exit(result.status)


@lab.command()
@_with(*_KERNEL_OPTIONS, *_BOOT_OPTIONS)
@click.pass_context
def shell(
    ctx: click.Context,
    debug: bool,
    tree: Path | None,
    cpus: int | None,
    memory: str | None,
    boot_timeout: float | None,
) -> None:
    """Start a shell in the lab, on this terminal.

    It is the one that SHELL names, and its exit status is this command's. All
    keys go to it once the lab has booted; until then Ctrl-C ends the lab. What
    can be written is as in `kvmbpf lab run`.
    """
    if not os.isatty(0):
        click.echo(
            "kvmbpf: a shell needs a terminal on standard input; "
            "`kvmbpf lab run -- COMMAND` needs none",
            err=True,
        )
        ctx.exit(USAGE)
    _end_when_told()
    kernel = ensure_kernel(debug=debug, tree=tree)
    click.echo("lab: booting; the shell's end is the lab's", err=True)
    result = run_shell(kernel, cpus=cpus, memory=memory, boot_timeout_s=boot_timeout)
    ctx.exit(result.status)


@lab.command()
@_with(*_KERNEL_OPTIONS)
@click.option(
    "--tests-from",
    metavar="DIR",
    envvar=SELFTESTS_VARIABLE,
    show_envvar=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Take the selftests of this kernel tree, not of the lab kernel's own.",
)
@click.option(
    "--timeout",
    type=_SECONDS,
    metavar="SECONDS",
    default=PROGRAM_TIMEOUT_S,
    show_default=True,
    help="The longest that one program may run; three times that with --debug or --vmx.",
)
@click.option(
    "--vmx",
    is_flag=True,
    help="Run them where Bochs emulates Intel's VMX, not in the lab; takes 10 minutes for all.",
)
@click.option("--verbose", is_flag=True, help="Show each result, also where all is well.")
@click.argument("tests", nargs=-1, metavar="[TEST]...")
def selftest(
    debug: bool,
    tree: Path | None,
    tests_from: Path | None,
    vmx: bool,
    timeout: float,
    verbose: bool,
    tests: tuple[str, ...],
) -> None:
    """Build the series' own selftests and run them, or some, in the lab.

    A result that is not ok, a skipped one, a program that does not end well and
    a complaint of the kernel's are failures. What needs fault injection runs on
    the debug kernel only, which has it.

    The lab's CPU has SVM where QEMU emulates it. --vmx boots the same kernel where
    the CPU has VMX, and fails where KVM does not run on that; a TEST alone takes a
    minute or two, but for the longest.
    """
    if vmx and debug:
        raise click.UsageError("--vmx is for the plain kernel: leave --debug out")
    _end_when_told()
    bochs = find_bochs() if vmx else None
    kernel = ensure_kernel(debug=debug, tree=tree)
    programs = choose(kernel, build_selftests(kernel, tests_from=tests_from), tests)
    if bochs is None:
        report = run_selftests(kernel, programs, timeout_s=timeout)
        for program in report.programs:
            _show(program, program.took_s, verbose)
    else:
        report = run_on_vmx(
            kernel,
            programs,
            timeout_s=timeout,
            bochs=bochs,
            booted=lambda machine: click.echo(f"VMX: {machine}"),
            ended=lambda one: _show(one.program, one.took_s, verbose),
        ).report
        for program in report.programs:
            if program.status is None:
                _show(program, program.took_s, verbose)
    _judge(report)


def _show(program: Program, took_s: float, verbose: bool) -> None:
    verdict = "FAILED" if program.problems else "ok"
    counted = f"{len(program.cases)} results"
    click.echo(f"{program.name:28} {verdict:6} {counted:12} {took_s:6.1f} s")
    for problem in program.problems:
        click.echo(f"  {problem}")
    if program.problems or verbose:
        click.echo(program.output.strip())
        click.echo(program.errors)


def _judge(report: Report) -> None:
    failed = [program.name for program in report.programs if program.problems]
    if failed:
        raise LabError(f"selftests failed: {', '.join(failed)}")
    if report.complaints:
        raise LabError(f"the lab's kernel complained: {report.complaints[0]}")
    if not report.passed:
        raise LabError("there are no selftests")


@lab.command()
@_with(*_KERNEL_OPTIONS)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(debug: bool, tree: Path | None, as_json: bool) -> None:
    """Show which kernel the lab uses, whether it is built, and what it boots under."""
    plan = make_plan(load_series(), debug=debug, tree=tree)
    kernel = read_kernel(plan.folder)
    accelerator = choose_accelerator()
    facts: dict[str, object] = {
        "key": plan.key,
        "source": plan.source.identity,
        "source_path": str(plan.source.path),
        "patches": [patch.name for patch in plan.series.patches],
        "fragments": [fragment.name for fragment in plan.fragments],
        "debug": plan.debug,
        "cached": kernel is not None,
        "folder": str(plan.folder),
        "release": kernel.release if kernel else None,
        "image_bytes": kernel.bzimage.stat().st_size if kernel else None,
        "folder_bytes": folder_bytes(plan.folder) if kernel else None,
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


@lab.command()
@click.option(
    "--all", "everything", is_flag=True, help="Remove these too, and the parts of demo guests."
)
@click.option(
    "--keep",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Keep the N newest of the kernels that are not used.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def clean(everything: bool, keep: int, dry_run: bool, as_json: bool) -> None:
    """Remove cached kernels that the present series does not use.

    What stays is what `kvmbpf lab build`, with and without --debug, would use
    here: from the package, or from KVMBPF_KERNEL_SOURCE where that is set. What
    interrupted builds left goes, and so do the logs of kernels that are gone.
    What a running lab or a build uses is never removed.
    """
    if everything and keep:
        raise click.UsageError("--all keeps none: leave --keep out")
    used = [] if everything else [make_plan(load_series(), debug=on).key for on in (False, True)]
    done = clean_cache(used, everything=everything, keep=keep, dry_run=dry_run)
    if as_json:
        click.echo(json.dumps(_cleaned_facts(done, dry_run), indent=2))
        return
    for one in done.removed:
        click.echo(f"{_mib(one.size_bytes):>10}  {one.kind:10}  {one.path}")
    for path in done.busy:
        click.echo(f"{'in use':>10}  {'kernel':10}  {path}")
    click.echo(f"{_mib(done.freed_bytes):>10}  {'would be freed' if dry_run else 'freed'}")


def _cleaned_facts(done: Cleaned, dry_run: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "removed": [asdict(one) | {"path": str(one.path)} for one in done.removed],
        "in_use": [str(path) for path in done.busy],
        "freed_bytes": done.freed_bytes,
    }


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):.1f} MiB"


def _end_when_told() -> None:
    """Let a polite kill end the lab as Ctrl-C does: through the context managers."""
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda number, frame: sys.exit(128 + number))
