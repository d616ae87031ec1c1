# SPDX-License-Identifier: GPL-2.0-or-later
"""The ``kvmbpf`` command: a thin face of the library.

Each command lives in a module of its own and is imported only when it is
called, so that ``kvmbpf inspect`` never loads what needs privilege. Errors of
the library become one line on standard error and a documented exit code
(`kvmbpf.errors`); a traceback is a bug.
"""

from __future__ import annotations

import importlib
import sys

import click
from click.shell_completion import CompletionItem

from kvmbpf import __version__
from kvmbpf.cli.completion import matching, stand_in
from kvmbpf.cli.exit_codes import EXIT_CODES
from kvmbpf.cli.standard import run_command
from kvmbpf.cli.verbose import show_log
from kvmbpf.errors import KvmBpfError

# command -> (module, attribute, the line that `kvmbpf --help` shows)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "new": ("kvmbpf.cli.new", "new", "Make a folder to begin a device in."),
    "build": ("kvmbpf.cli.build", "build", "Compile the source of a device."),
    "inspect": ("kvmbpf.cli.inspect", "inspect", "Show what a device object says it is."),
    "check": ("kvmbpf.cli.check", "check", "Say what is wrong with device objects."),
    "dt": ("kvmbpf.cli.dt", "dt_command", "Print devices as nodes of a device tree."),
    "acpi": ("kvmbpf.cli.acpi", "acpi_command", "Print devices as an ACPI table."),
    "run": ("kvmbpf.cli.run", "run_command", "Start QEMU with devices attached."),
    "attach": ("kvmbpf.cli.attach", "attach_command", "Attach a device to a running VM."),
    "watch": ("kvmbpf.cli.watch", "watch_command", "Reset a VM's devices with it."),
    "update": (
        "kvmbpf.cli.update",
        "update_command",
        "Replace a device's program in a running VM.",
    ),
    "reset": ("kvmbpf.cli.reset", "reset_command", "Run a device's reset program."),
    "limits": ("kvmbpf.cli.limits", "limits_command", "Show or set a device's limits."),
    "detach": ("kvmbpf.cli.detach", "detach_command", "Take a device away from a running VM."),
    "list": ("kvmbpf.cli.list", "list_command", "List attached devices."),
    "info": ("kvmbpf.cli.info", "info_command", "Show everything about a device."),
    "stat": ("kvmbpf.cli.stat", "stat_command", "Show how much devices have to do."),
    "log": ("kvmbpf.cli.log", "log_command", "Print what a device's programs say."),
    "trace": ("kvmbpf.cli.trace", "trace_command", "Print a device's accesses, one by one."),
    "bench": ("kvmbpf.cli.bench", "bench", "Measure the cost of an access on each path."),
    "lab": ("kvmbpf.cli.lab", "lab", "Build and boot the patched kernel."),
    "completion": ("kvmbpf.cli.completion", "completion", "Print a shell's completion."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names, in the order of a device's life."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command, or None where it does not exist."""
        if cmd_name not in COMMANDS:
            return None

        def load() -> click.Command:
            return _load(cmd_name)

        return stand_in(cmd_name, load) or load()

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command's name, or an option, without importing any of them."""
        names = ((name, entry[2]) for name, entry in COMMANDS.items())
        return matching(names, incomplete) + click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; with --verbose show all that was said before it failed."""
        try:
            return super().invoke(ctx)
        except KvmBpfError as error:
            show_log(ctx, error)
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[2]) for name, entry in COMMANDS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the exit codes mean."""
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), line) for code, line in EXIT_CODES.items()])


def _load(name: str) -> click.Command:
    """Import a command."""
    entry = COMMANDS[name]
    command = getattr(importlib.import_module(entry[0]), entry[1])
    if not isinstance(command, click.Command):
        raise TypeError(f"{entry[0]}.{entry[1]} is not a command")
    return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kvmbpf")
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    envvar="KVMBPF_VERBOSE",
    help="Show all that the verifier, libbpf or clang said when it fails; "
    "KVMBPF_VERBOSE=1 does too.",
)
def cli(verbose: bool) -> None:
    """Virtual devices as eBPF programs, in the host kernel of a KVM guest."""


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(run_command(_run))


def _run() -> int:
    status = cli.main(prog_name="kvmbpf", standalone_mode=False)
    return status if isinstance(status, int) else 0
