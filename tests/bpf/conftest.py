# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of the libbpf layer share: objects, a bpffs, no descriptor left."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.held import nothing_left

from .build import compile_bpf

Compile = Callable[..., Path]


@pytest.fixture
def build(tmp_path: Path) -> Compile:
    """Give ``build(source, *defines, name=...)``, which compiles into a new directory."""

    def compile_one(source: str, *defines: str, name: str = "prog") -> Path:
        folder = tmp_path / f"{source}-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return compile_bpf(source, folder / f"{name}.bpf.o", *defines)

    return compile_one


@pytest.fixture
def bpffs(tmp_path: Path) -> Iterator[Path]:
    """Give a bpffs of the test's own."""
    folder = tmp_path / "bpffs"
    folder.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def no_fd_leak() -> Iterator[None]:
    """Fail a test that leaves a descriptor open."""
    with nothing_left():
        yield
