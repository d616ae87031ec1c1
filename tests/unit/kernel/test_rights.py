# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.kernel.rights: what is missing is named, and nothing else."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from kvmbpf.kernel.rights import NUMBERS, effective, lacking, refused, require, user_name

ALL = sum(1 << bit for bit in NUMBERS.values())


def without(*names: str) -> int:
    return ALL & ~sum(1 << NUMBERS[name] for name in names)


def test_with_all_nothing_is_missing() -> None:
    assert lacking(*NUMBERS, held=ALL) == ()


@pytest.mark.parametrize("name", ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN"])
def test_only_what_is_missing_is_named(name: str) -> None:
    assert lacking(*NUMBERS, held=without(name)) == (name,)


def test_the_administrator_may_load_programs() -> None:
    held = without("CAP_BPF", "CAP_PERFMON")
    assert lacking("CAP_BPF", "CAP_PERFMON", held=held) == ()
    assert lacking("CAP_BPF", held=held & ~(1 << NUMBERS["CAP_SYS_ADMIN"])) == ("CAP_BPF",)


def test_the_kernels_bitmap_is_read(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("CapPrm:\tffffffffffffffff\nCapEff:\t0000000000200000\n")
    assert effective(status) == 1 << NUMBERS["CAP_SYS_ADMIN"]
    status.write_text("Name:\tx\n")
    assert effective(status) == 0


def test_nothing_is_required_of_who_needs_nothing() -> None:
    require("kvmbpf list")


def test_a_refused_file_says_whose_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    error = refused("open", tmp_path / "absent", PermissionError(errno.EACCES, ""))
    assert f"open({tmp_path}/absent): EACCES" in str(error)
    assert f"{tmp_path} is {user_name(tmp_path.stat().st_uid)}'s, mode 700" in str(error)


def test_another_error_has_no_owner(tmp_path: Path) -> None:
    error = refused("write", tmp_path, OSError(errno.ENOSPC, ""))
    assert str(error) == f"write({tmp_path}): ENOSPC (No space left on device)"


def test_a_user_without_a_name() -> None:
    assert user_name(4_000_000_000) == "uid 4000000000"
