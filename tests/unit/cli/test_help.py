# SPDX-License-Identifier: GPL-2.0-or-later
"""Every command, and every command of a group, shows its help with this click.

ci/versions.sh runs this with the lowest click that pyproject.toml allows.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import redirect_stdout

import click
import pytest

from kvmbpf.cli import COMMANDS, cli


def shown(*words: str) -> str:
    """Return what a command line prints."""
    text = io.StringIO()
    with redirect_stdout(text):
        cli.main([*words], prog_name="kvmbpf", standalone_mode=False)
    return text.getvalue()


def below(command: click.Command | None, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the words of a command, and those of the ones below it."""
    assert command is not None, words
    yield words
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from below(command.get_command(context, name), (*words, name))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_and_those_below_it_show_their_help(name: str) -> None:
    for words in below(cli.get_command(click.Context(cli), name), (name,)):
        text = shown(*words, "--help")
        assert text.startswith(f"Usage: kvmbpf {' '.join(words)} "), text
        assert "-h, --help" in text


def test_a_group_is_looked_into() -> None:
    found = set(below(cli.get_command(click.Context(cli), "lab"), ("lab",)))
    assert {("lab",), ("lab", "run"), ("lab", "status"), ("lab", "clean")} <= found
