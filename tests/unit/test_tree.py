# SPDX-License-Identifier: GPL-2.0-or-later
"""What every file of the project keeps to."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.places import ROOT

# Files without comments, and what documents carry instead.
WITHOUT_SPDX = {".md", ".txt", ".toml", ".patch", ".fragment", ""}
KERNEL_PARTS = ("guest_driver/kvmbpf_demo/", "tests/lab/guest_module/")


def tracked() -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "-z"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return [ROOT / name for name in done.stdout.split("\0") if name]


@pytest.mark.parametrize("path", tracked(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_names_its_licence(path: Path) -> None:
    if Path(path.name.removesuffix(".in")).suffix in WITHOUT_SPDX:
        return
    head = path.read_text(encoding="utf-8").splitlines()[:3]
    name = str(path.relative_to(ROOT))
    expected = "GPL-2.0-only" if name.startswith(KERNEL_PARTS) else "GPL-2.0-or-later"
    assert any(line.endswith(f"SPDX-License-Identifier: {expected}") for line in map(_bare, head))


def _bare(line: str) -> str:
    return line.removesuffix("*/").rstrip()


def test_nothing_that_was_built_is_tracked() -> None:
    built = {".o", ".ko", ".gz", ".aml", ".dtb", ".img", ".xz"}
    assert [path for path in tracked() if path.suffix in built or path.name == "bzImage"] == []
