# SPDX-License-Identifier: GPL-2.0-or-later
"""The QEMUs that run here, by /proc: real ones, without a machine."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qemu_glue.vmms import qemu_of, running_qemus

pytestmark = pytest.mark.unit
QEMU = ["qemu-system-x86_64", "-M", "none", "-nodefaults", "-display", "none"]


@contextlib.contextmanager
def running(folder: Path, *arguments: str, made: Path) -> Iterator[int]:
    """Run a QEMU in a folder; give its pid once it has made a file there."""
    process = subprocess.Popen([*QEMU, *arguments], cwd=folder)
    try:
        deadline = time.monotonic() + 30
        while not made.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def test_a_qemu_is_found_with_its_name_and_sockets(tmp_path: Path) -> None:
    own = tmp_path / "here.qmp"
    arguments = ["-qmp", "unix:here.qmp,server=on,wait=off"]
    arguments += ["-qmp", f"unix:{tmp_path}/there.qmp,server=on,wait=off"]
    with running(tmp_path, "-name", "guest=a b", *arguments, made=own) as pid:
        qemu = qemu_of(pid)
        assert qemu is not None
        assert qemu.name == "a b"
        assert qemu.qmp_sockets() == [own, tmp_path / "there.qmp"]
        assert pid in [one.pid for one in running_qemus()]
    assert qemu_of(pid) is None


def test_a_qemu_may_have_neither(tmp_path: Path) -> None:
    with running(tmp_path, "-pidfile", "pid", made=tmp_path / "pid") as pid:
        qemu = qemu_of(pid)
        assert qemu is not None
        assert (qemu.name, qemu.qmp_sockets()) == (None, [])


@pytest.mark.parametrize("pid", [1 << 22, 2, os.getpid()], ids=["nobody", "no command", "python"])
def test_what_is_no_qemu(pid: int) -> None:
    assert qemu_of(pid) is None


def test_a_path_of_another_root_is_reached_through_it(tmp_path: Path) -> None:
    """A process with a root of its own, that says it is a QEMU with a socket."""
    root = tmp_path / "root"
    root.mkdir()
    name = "qemu-system-none"
    code = "import os, time; os.chroot(os.environ['ROOT']); os.chdir('/'); print(1, flush=True)"
    process = subprocess.Popen(
        [name, "-c", f"{code}; time.sleep(600)", "-qmp", "unix:/run/q,server=on"],
        executable="/usr/bin/python3",
        env=os.environ | {"ROOT": str(root)},
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        qemu = qemu_of(process.pid)
        assert qemu is not None
        assert qemu.qmp_sockets() == [Path(f"/proc/{process.pid}/root/run/q")]
    finally:
        process.kill()
        process.wait()
