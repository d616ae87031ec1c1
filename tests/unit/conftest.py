# SPDX-License-Identifier: GPL-2.0-or-later
"""Device objects that the unit tests share, each compiled once."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmbpf.author.compile import compile_device
from tests.places import ROOT

DEVICES = ROOT / "kvmbpf" / "devices"
PROGS = Path(__file__).parent / "progs"


def _compile(source: Path, name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_device(source, tmp_path_factory.mktemp("objects") / f"{name}.bpf.o")


@pytest.fixture(scope="session")
def demo_v1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the small device's first version, compiled."""
    return _compile(PROGS / "small_v1.bpf.c", "demo_v1", tmp_path_factory)


@pytest.fixture(scope="session")
def demo_v2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the small device's second version, compiled."""
    return _compile(PROGS / "small_v2.bpf.c", "demo_v2", tmp_path_factory)


@pytest.fixture(scope="session")
def shipped_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the demo device as it ships, its first version, compiled."""
    return _compile(DEVICES / "demo" / "demo_v1.bpf.c", "demo_v1", tmp_path_factory)


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a device that has one of everything, compiled."""
    return _compile(PROGS / "everything.bpf.c", "everything", tmp_path_factory)
