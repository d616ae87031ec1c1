# SPDX-License-Identifier: GPL-2.0-or-later
"""`kvmbpf attach`, `update` and `detach` with few descriptors, and on a full disk."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.bare_vmm import BareVmm
from tests.lab.commands import Commands, commands
from tests.lab.objects import device_object
from tests.scarce import limited

FEW, ENOUGH = 6, 64


@pytest.fixture
def kvmbpf(tmp_path: Path) -> Iterator[Commands]:
    with commands(tmp_path) as found:
        yield found


def in_store(kvmbpf: Commands) -> list[str]:
    """All that lies in the store, less its two outermost folders."""
    return sorted(
        str(path)
        for folder in (kvmbpf.bpffs / "kvmbpf", kvmbpf.run_dir)
        for path in (folder.rglob("*") if folder.exists() else ())
        if path.name != "filler"
    )


def test_with_few_descriptors_it_is_attached_or_nothing_is(kvmbpf: Commands) -> None:
    refusals = 0
    with BareVmm() as vmm:
        arguments = ("attach", device_object("steered_v1"), "--pid", str(vmm.pid))
        for descriptors in range(FEW, ENOUGH, 2):
            done = kvmbpf.run(*arguments, before=limited("-n", descriptors, []))
            if done.returncode == 0:
                break
            refusals += 1
            assert done.returncode in (10, 15), done.stderr
            assert done.stderr.count("\n") == 1, done.stderr
            assert "Too many open files" in done.stderr
            assert "ulimit -n" in done.stderr
            assert in_store(kvmbpf) == []
            assert vmm.reads() is None
        assert (done.returncode, done.stderr) == (0, "")
        assert refusals
        assert vmm.reads() == 0
        for command in (("list", "--json"), ("detach", "steered")):
            for descriptors in range(FEW, ENOUGH, 4):
                done = kvmbpf.run(*command, before=limited("-n", descriptors, []))
                if done.returncode == 0:
                    break
                assert done.stderr.count("\n") == 1, done.stderr
                assert "Too many open files" in done.stderr
                assert vmm.reads() == 0
            assert (done.returncode, done.stderr) == (0, "")
        assert vmm.reads() is None


def test_on_a_full_disk_it_is_not_attached_and_can_be_detached(kvmbpf: Commands) -> None:
    kvmbpf.run_dir.mkdir(mode=0o700)
    options = ("-t", "tmpfs", "-o", "size=32k,mode=0700", "tmpfs")
    subprocess.run(["mount", *options, str(kvmbpf.run_dir)], check=True)
    filler = kvmbpf.run_dir / "filler"
    try:
        with BareVmm() as vmm:
            arguments = ("attach", device_object("steered_v1"), "--pid", str(vmm.pid))
            fill(filler)
            said = kvmbpf.refused(*arguments, code=10)
            assert re.match(r"write\(.*steered\.json\): ENOSPC .*; make room there", said)
            assert in_store(kvmbpf) == []
            assert vmm.reads() is None

            filler.unlink()
            kvmbpf.ok(*arguments)
            fill(filler)
            before = in_store(kvmbpf)
            said = kvmbpf.refused("update", device_object("steered_v2"), code=10)
            assert re.match(r"write\(.*steered\.json\): ENOSPC .*; make room there", said)
            assert in_store(kvmbpf) == before
            assert vmm.reads() == 0
            assert [found["device"] for found in kvmbpf.listed()] == ["steered"]

            kvmbpf.ok("detach", "steered")
            assert in_store(kvmbpf) == []
            assert vmm.reads() is None
    finally:
        subprocess.run(["umount", str(kvmbpf.run_dir)], check=True)


def fill(path: Path) -> None:
    """Write to a file until its disk is full."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert os.statvfs(path).f_bavail == 0
