# SPDX-License-Identifier: GPL-2.0-or-later
"""Wrong input to the command itself, and what its help lists.

Each command's own: test_vm_errors.py and test_manager_command_errors.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmbpf.cli import COMMANDS
from tests.unit.cli.commands import assert_refused, run_kvmbpf


@pytest.mark.parametrize("arguments", [["frobnicate"], ["--frobnicate"], ["list", "--frobnicate"]])
def test_an_unknown_word_is_named(tmp_path: Path, arguments: list[str]) -> None:
    assert_refused(run_kvmbpf(tmp_path, *arguments), 2, "frobnicate")


def test_help_lists_every_command(tmp_path: Path) -> None:
    done = run_kvmbpf(tmp_path, "--help")
    assert done.returncode == 0
    for name in COMMANDS:
        assert name in done.stdout
        assert run_kvmbpf(tmp_path, name, "--help").returncode == 0
