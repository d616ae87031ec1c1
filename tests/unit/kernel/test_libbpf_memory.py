# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.kernel.libbpf.memory: what glibc is told, and that another C library is left alone."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import pytest

from kvmbpf.kernel.libbpf import memory


@pytest.fixture(autouse=True)
def anew() -> None:
    """Let it be the first time."""
    memory.keep_freed_memory.cache_clear()


def test_glibc_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    library = SimpleNamespace(mallopt=lambda what, value: told.append((what, value)))
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    memory.keep_freed_memory()
    memory.keep_freed_memory()
    assert told == [(-3, 32 << 20), (-1, 48 << 20)]


def test_a_c_library_without_mallopt_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    memory.keep_freed_memory()
