# SPDX-License-Identifier: GPL-2.0-or-later
"""The layers hold: nothing imports what lies above it; readers need no privilege.

From the ground: mends, errors, closing, writing, caches - model, lab - kernel -
author, testing, qemu_glue - manager - bench, demo - cli.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import ROOT

PACKAGES = (ROOT / "kvmbpf", ROOT / "qemu_glue")

# Lowest first. A module may import its own layer and those below.
LAYERS: list[set[str]] = [
    {"__init__", "mends", "errors", "closing", "writing", "caches"},
    {"model", "lab"},
    {"kernel"},
    {"author", "testing", "qemu_glue"},
    {"manager"},
    {"bench", "demo"},
    {"cli", "__main__"},
]
UNPRIVILEGED = (
    *("model.spec", "model.objfile", "model.objfile.ops", "model.objfile.describe"),
    *("model.check", "model.dts", "model.firmware", "model.placement"),
    *("author.compile", "author.scaffold", "testing"),
    *("cli.build", "cli.inspect", "cli.check", "cli.new", "cli.dt", "cli.acpi"),
)
PRIVILEGED = ("kvmbpf.kernel", "kvmbpf.manager")


def room(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[1].removesuffix(".py") if parts[0] == "kvmbpf" else parts[0]


def level(name: str) -> int:
    return next(index for index, layer in enumerate(LAYERS) if name in layer)


SOURCES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))


def imported_rooms(path: Path) -> set[str]:
    """The rooms that a file names in an import, wherever in it that stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "kvmbpf":
                names = [f"kvmbpf.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "qemu_glue":
                found.add("qemu_glue")
            elif parts[0] == "kvmbpf":
                own = parts[1] if len(parts) > 1 else "__init__"
                found.add("__init__" if own == "__version__" else own)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_nothing_from_above(path: Path) -> None:
    own = level(room(path))
    above = {name for name in imported_rooms(path) if level(name) > own}
    assert not above


def test_every_room_is_in_one_layer() -> None:
    rooms = {room(path) for path in SOURCES}
    assert rooms == set().union(*LAYERS)
    assert sum(map(len, LAYERS)) == len(rooms)


@pytest.mark.parametrize("module", UNPRIVILEGED)
def test_what_reads_files_loads_nothing_privileged(module: str) -> None:
    code = f"import sys, kvmbpf.{module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = set(done.stdout.split())
    assert f"kvmbpf.{module}" in loaded
    assert not loaded & set(PRIVILEGED)


@pytest.mark.parametrize("room_name", ["model", "kernel"])
def test_qemu_is_known_above_only(room_name: str) -> None:
    for path in SOURCES:
        if room(path) == room_name:
            assert "qemu_glue" not in path.read_text(encoding="utf-8")
