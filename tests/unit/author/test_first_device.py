# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/first-device.md: what a reader does works, and prints what the page says.

The part that needs the lab is tests/lab/author/test_first_device.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.places import ROOT
from tests.tutorial import Reader, Step, plain, steps, update

PAGE = ROOT / "docs" / "first-device.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_each_command_prints_what_the_page_says(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    for step in steps(TEXT):
        if not step.in_lab:
            assert plain(reader.do(step)) == plain(step.text)


def test_the_page_has_its_parts() -> None:
    kinds = [step.kind for step in steps(TEXT)]
    assert kinds.count("console") >= 10
    assert kinds.count("diff") == 2
    assert sum(step.in_lab for step in steps(TEXT)) == 1
    assert TEXT.count("```") == 2 * len(kinds)


def test_update_writes_what_is_printed(tmp_path: Path) -> None:
    page = (
        "Save this as `a.txt`:\n\n```text\none\n```\n\n"
        "```console\n$ cat a.txt\nwrong\n$ mkdir new\n$ cd new\n$ pwd\n```\n"
        "```console\n$ kvmbpf lab run -- true\nkept\n```\n"
    )
    assert update(page, tmp_path) == (
        "Save this as `a.txt`:\n\n```text\none\n```\n\n"
        "```console\n$ cat a.txt\none\n$ mkdir new\n$ cd new\n$ pwd\n/home/you/new\n```\n"
        "```console\n$ kvmbpf lab run -- true\nkept\n```\n"
    )


@pytest.mark.parametrize(
    ("kind", "text"), [("diff", "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"), ("c", "int x;\n")]
)
def test_what_does_not_fit_is_told(tmp_path: Path, kind: str, text: str) -> None:
    (tmp_path / "x").write_text("other\n")
    with pytest.raises(AssertionError):
        Reader(tmp_path).do(Step(kind, text, None, (0, 0)))


def test_what_varies_is_not_compared() -> None:
    assert plain("8 passed in 0.31s\n21 instructions\n") == "8 passed in Ns\nN instructions\n"
