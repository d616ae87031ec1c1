# SPDX-License-Identifier: GPL-2.0-or-later
"""How the demonstration speaks: headings, lines, commands with their output."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence

from kvmbpf.demo.parts import Parts
from kvmbpf.errors import StateError


def heading(text: str) -> None:
    """Print what comes next."""
    print(f"\n== {text}", flush=True)


def show(text: str) -> None:
    """Print a line of output."""
    print(f"   {text}", flush=True)


def show_command(arguments: Sequence[str]) -> None:
    """Print a kvmbpf command that is run now."""
    show(f"$ kvmbpf {shlex.join(arguments)}")


def require(good: bool, sentence: str) -> None:
    """End the story unless something is as it should be.

    :raise StateError: with the sentence, when it is not.
    """
    if not good:
        raise StateError(sentence)


def require_equal(what: str, guest: int, host: int) -> None:
    """Print a count of both sides.

    :raise StateError: when they differ.
    """
    show(f"{what:<30} guest {guest:>8}   host {host:>8}")
    require(guest == host, f"{what}: the guest counted {guest}, the host {host}")


def kvmbpf(parts: Parts, *arguments: str, begins: Sequence[str] = ("",)) -> None:
    """Run the kvmbpf command in a process of its own, as a user would.

    :param parts: the objects lie in their folder, where the command runs.
    :param begins: show the lines that begin with one of these; tell of the rest.
    :raise StateError: when it fails.
    """
    show_command(arguments)
    done = subprocess.run(
        [sys.executable, "-m", "kvmbpf", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=parts.folder,
    )
    lines = done.stdout.splitlines()
    shown = [line for line in lines if line.startswith(tuple(begins))]
    for line in shown:
        show(line)
    if len(shown) < len(lines):
        show(f"... and {len(lines) - len(shown)} lines more")
    require(done.returncode == 0, f"kvmbpf {arguments[0]} failed with exit code {done.returncode}")
