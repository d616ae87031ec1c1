# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.lab.cache: what says that something is finished is whole, or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmbpf.errors import LabError
from kvmbpf.lab.cache import build_lock, write_stamp


def test_a_stamp_that_cannot_be_written_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="absent/stamp: No such file or directory"):
        write_stamp(tmp_path / "absent" / "stamp", "text")
    (tmp_path / "stamp").mkdir()
    with pytest.raises(LabError, match="stamp: Is a directory"):
        write_stamp(tmp_path / "stamp", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["stamp"]


def test_a_lock_is_not_taken_through_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KVMBPF_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "lock").symlink_to(tmp_path / "made")
    with pytest.raises(LabError, match="cannot open the lock"), build_lock(lambda: None):
        pass
    assert not (tmp_path / "made").exists()
