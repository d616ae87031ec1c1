# SPDX-License-Identifier: GPL-2.0-or-later
"""No module needs one that needs it: neither lazily, nor for its types only."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.places import ROOT


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path, known: set[str]) -> set[str]:
    """The modules that a file names in an import, wherever in it that stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (names & known) or {node.module} & known
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & known
    return found - {module_of(path)}


@pytest.mark.parametrize("room", ["kernel/libbpf", "testing"])
def test_a_rooms_modules_make_no_circle(room: str) -> None:
    paths = sorted((ROOT / "kvmbpf" / room).glob("*.py"))
    known = {module_of(path) for path in paths}
    graph = {module_of(path): imported(path, known) for path in paths}
    assert len(list(TopologicalSorter(graph).static_order())) == len(paths)  # else a CycleError
