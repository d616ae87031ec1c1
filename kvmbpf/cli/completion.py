# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf completion``, and what a shell completes a command line with.

While a shell completes, each command that takes objects, sources or devices is
stood in for by one that knows only that: nothing of the privileged layers is
imported to list files. Its options are asked of the command itself.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

from kvmbpf.model.vm_name import as_said, is_home, name_of_home, shown

COMPLETE_VARIABLE = "_KVMBPF_COMPLETE"
SHELLS = ("bash", "zsh")

Items = list[CompletionItem]
Completer = Callable[[click.Context, click.Parameter, str], Items]


def _files(incomplete: str, ending: str) -> Items:
    """Return the files with an ending, and else what folders there are."""
    folder, _, start = incomplete.rpartition("/")
    where = Path(f"{folder}/") if "/" in incomplete else Path()
    prefix = incomplete[: len(incomplete) - len(start)]
    try:
        names = sorted(entry.name for entry in where.iterdir())
    except OSError:
        names = []
    found = [name for name in names if name.startswith(start) and name.endswith(ending)]
    return [CompletionItem(incomplete, type="dir"), *(CompletionItem(prefix + n) for n in found)]


def objects(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Complete the name of an object."""
    return _files(incomplete, ".o")


def sources(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Complete the name of a device's source."""
    return _files(incomplete, ".bpf.c")


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Complete the name of any file."""
    return [CompletionItem(incomplete, type="file")]


def _pins(pattern: str) -> set[str]:
    """Return the names of folders among the manager's pins; none for who may not look."""
    pins = Path(os.environ.get("KVMBPF_BPFFS", "/sys/fs/bpf")) / "kvmbpf"
    try:
        return {path.name for path in pins.glob(pattern) if path.is_dir()}
    except OSError:
        return set()


def devices(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Complete the name of an attached device."""
    return [CompletionItem(name) for name in sorted(_pins("*/*")) if name.startswith(incomplete)]


def vms(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Complete the name of a VM that has devices."""
    names = {name for home in _pins("*") if is_home(home) and (name := _name_of(home))}
    found = sorted(name for name in names if name.startswith(as_said(incomplete)))
    return [CompletionItem(word) for name in found if (word := _typed(name))]


def _name_of(home: str) -> str | None:
    """Return a VM's name by its folders' name; where that was cut, by a record."""
    name = name_of_home(home)
    if name is None:
        run = Path(os.environ.get("KVMBPF_RUN_DIR", "/run/kvmbpf"))
        for path in run.glob(f"{home}/*.json"):
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
                return str(json.loads(path.read_text())["vm"])
    return name


def _typed(name: str) -> str:
    """Return a name as it goes into a command line; empty where it cannot be typed.

    zsh quotes what it inserts. bash does not, unless the word has a quote already.
    """
    if not name.isprintable() or not os.environ[COMPLETE_VARIABLE].startswith("bash"):
        return name if name.isprintable() else ""
    words = os.environ.get("COMP_WORDS", "").split("\n")
    begun = words[-1][:1] in ("'", '"')
    return name if begun else shown(name)


# command -> what its arguments are; those of run are QEMU's command line
ARGUMENTS: dict[str, Completer] = {
    "build": sources,
    **dict.fromkeys(("inspect", "check", "dt", "acpi", "attach", "update"), objects),
    **dict.fromkeys(("reset", "limits", "detach", "info", "stat", "log", "trace"), devices),
    "run": files,
}
# what takes no file and no device, or is a group of commands
PLAIN = frozenset({"new", "list", "watch", "bench", "lab", "completion"})
# option -> what its value is, whichever command has it
OPTIONS: dict[str, Completer] = {
    "--device": objects,
    "--vm": vms,
    "--qmp": files,
    "--dtb": files,
    "--merge": files,
    "--base": files,
}


class StandIn(click.Command):
    """A command as far as its arguments are completed.

    :param name: the command's.
    :param load: imports the command itself.
    """

    def __init__(self, name: str, load: Callable[[], click.Command]) -> None:
        self._load = load
        params: list[click.Parameter] = [
            click.Option([option], multiple=True, shell_complete=completer)
            for option, completer in OPTIONS.items()
        ]
        argument = ARGUMENTS[name]
        params.append(
            click.Argument(["words"], nargs=-1, type=click.UNPROCESSED, shell_complete=argument)
        )
        settings = {"ignore_unknown_options": True}
        super().__init__(name, params=params, context_settings=settings)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> Items:
        """Complete an option: of the command itself."""
        return self._load().shell_complete(ctx, incomplete)


def stand_in(name: str, load: Callable[[], click.Command]) -> click.Command | None:
    """Return what stands in for a command while a shell completes; None otherwise."""
    if COMPLETE_VARIABLE not in os.environ or name not in ARGUMENTS:
        return None
    return StandIn(name, load)


def matching(commands: Iterable[tuple[str, str]], incomplete: str) -> Items:
    """Return the commands that a word begins."""
    return [CompletionItem(n, help=line) for n, line in commands if n.startswith(incomplete)]


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what completes kvmbpf's command lines in a SHELL.

    \b
    bash:  eval "$(kvmbpf completion bash)"     in ~/.bashrc
    zsh:   eval "$(kvmbpf completion zsh)"      in ~/.zshrc, after compinit
    """  # noqa: D301 (\b is click's mark for text that is not to be wrapped)
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"click knows no completion for {shell}")
    group = click.Command("kvmbpf")
    # Not source(), which asks bash for its version first: it may be another's bash.
    maker = found(group, {}, "kvmbpf", COMPLETE_VARIABLE)
    click.echo(maker.source_template % maker.source_vars())
