# SPDX-License-Identifier: GPL-2.0-or-later
"""Exit codes: the errors, the help and the documentation say the same."""

from __future__ import annotations

import re
import subprocess
import sys

from kvmbpf import errors
from kvmbpf.cli.exit_codes import EXIT_CODES
from kvmbpf.errors import KvmBpfError
from tests.places import ROOT

WITHOUT_ERROR = {0, 2, 130, 141}


def codes_of_the_tree() -> dict[int, str]:
    """Return the exit codes of the errors in errors.py; a subclass may share its parent's."""
    found = {KvmBpfError.exit_code: KvmBpfError.__name__}
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, KvmBpfError) and "exit_code" in vars(kind):
            found[kind.exit_code] = kind.__name__
    return found


def rows() -> dict[int, tuple[str, str]]:
    """Return the table of docs/exit-codes.md: code to error and meaning."""
    text = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| (\d+) \| (\w*) ?\| ([^|]+) \|", text, re.MULTILINE)
    return {int(code): (name, meaning) for code, name, meaning in found}


def test_each_error_has_a_code_of_its_own_in_the_table() -> None:
    tree = codes_of_the_tree()
    assert {code: name for code, (name, _) in rows().items() if name} == tree
    assert set(EXIT_CODES) == set(tree) | WITHOUT_ERROR


def test_the_documentation_and_the_help_say_the_same() -> None:
    assert {code: meaning for code, (_, meaning) in rows().items()} == EXIT_CODES
    done = subprocess.run(
        [sys.executable, "-m", "kvmbpf", "--help"], capture_output=True, text=True, check=True
    )
    shown = re.findall(r"^  (\d+)  +(.+)$", done.stdout, re.MULTILINE)
    assert {int(code): meaning for code, meaning in shown} == EXIT_CODES


def test_the_tree_in_the_errors_docstring_has_the_codes() -> None:
    drawn = re.findall(r"(\w+Error)\s+(\d+)", errors.__doc__ or "")
    assert {int(code): name for name, code in drawn} == codes_of_the_tree()
