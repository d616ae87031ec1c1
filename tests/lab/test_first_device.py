# SPDX-License-Identifier: GPL-2.0-or-later
"""The end of docs/first-device.md: a stock QEMU's guest uses the reader's device."""

from __future__ import annotations

from pathlib import Path

from tests.tutorial import Reader, plain, steps

PAGE = Path(__file__).resolve().parents[2] / "docs" / "first-device.md"

# What the object is made of; the rest of the page is tried without the lab.
_NEEDED = ("kvmbpf new ", "cd ", "kvmbpf build ")


def test_a_guest_uses_the_readers_device(tmp_path: Path) -> None:
    reader = Reader(tmp_path, inside=True)
    for step in steps(PAGE.read_text(encoding="utf-8")):
        if step.in_lab:
            assert plain(reader.do(step)) == plain(step.text)
        elif step.kind == "console":
            for command, _ in step.commands:
                if command.startswith(_NEEDED):
                    reader.run(command)
        else:
            reader.do(step)
