# SPDX-License-Identifier: GPL-2.0-or-later
"""The end of docs/first-device.md: a stock QEMU's guest uses the reader's device."""

from __future__ import annotations

from pathlib import Path

from tests.places import ROOT
from tests.tutorial import Reader, plain, steps

PAGE = ROOT / "docs" / "first-device.md"


def test_a_guest_uses_the_readers_device(tmp_path: Path) -> None:
    reader = Reader(tmp_path, inside=True)
    compared = 0
    for step in steps(PAGE.read_text(encoding="utf-8")):
        if step.in_lab:
            assert plain(reader.do(step)) == plain(step.text)
            compared += 1
        else:
            reader.prepare(step)
    assert compared == 1
