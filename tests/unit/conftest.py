# SPDX-License-Identifier: GPL-2.0-or-later
"""Device objects that the unit tests share, each compiled once."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmbpf.compile import compile_device

DEVICES = Path(__file__).resolve().parents[2] / "kvmbpf" / "devices"
PROGS = Path(__file__).resolve().parent / "progs"


@pytest.fixture(scope="session")
def demo_v1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the demo device's first version, compiled."""
    return compile_device(
        DEVICES / "demo" / "demo_v1.bpf.c", tmp_path_factory.mktemp("objects") / "demo_v1.bpf.o"
    )


@pytest.fixture(scope="session")
def demo_v2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the demo device's second version, compiled."""
    return compile_device(
        DEVICES / "demo" / "demo_v2.bpf.c", tmp_path_factory.mktemp("objects") / "demo_v2.bpf.o"
    )


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a device that has one of everything, compiled."""
    return compile_device(
        PROGS / "everything.bpf.c",
        tmp_path_factory.mktemp("objects") / "everything.bpf.o",
    )
