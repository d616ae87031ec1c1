# SPDX-License-Identifier: GPL-2.0-or-later
"""The demonstration that README.md shows runs to its end, and says what README.md says."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.places import ROOT

pytestmark = pytest.mark.on_host

README = ROOT / "README.md"
# What differs from run to run.
_VARIES = re.compile(r"\d+")
# In a lab of one CPU QEMU says so of a guest of two.
_OF_QEMU = re.compile(r"\s*qemu-system-\S+ warning: Number of .* cpus requested")


def shape(line: str) -> str:
    """Return a line without what differs from run to run."""
    return " ".join(_VARIES.sub("#", line).split())


def test_the_demonstration_says_what_the_readme_shows() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kvmbpf.demo"],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    shown = README.read_text(encoding="utf-8").split("$ make demo\n")[1].split("```")[0]
    expected = [shape(line) for line in shown.splitlines() if line.strip()]
    lines = [line for line in done.stdout.splitlines() if not _OF_QEMU.match(line)]
    said = [shape(line) for line in lines if line.strip()]
    assert said == expected
