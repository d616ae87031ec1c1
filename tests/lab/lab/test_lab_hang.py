# SPDX-License-Identifier: GPL-2.0-or-later
"""A lab that hangs is ended, and says what its console showed last: with a QEMU that only talks."""

from __future__ import annotations

import itertools
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from kvmbpf.errors import LabError, StateError
from kvmbpf.lab import Accelerator, LabKernel, LabRun
from kvmbpf.lab.boot import CPUS, DEBUG, PLAIN
from tests.unit.lab.fake_lab import alive, eventually

pytestmark = pytest.mark.on_host

# What it says goes where virtme-run's does: to the console that the lab keeps.
_QEMU = """#!/bin/sh
case "$*" in *-kernel*) ;; *) exec {real} "$@" ;; esac
for n in $(seq 1 30); do echo "line $n of the console"; done
{then}
echo $$ >{pid}
exec sleep 600
"""
STARTED = ': >"$TMPDIR/started"'


@pytest.fixture
def kernel(tmp_path: Path) -> LabKernel:
    made = LabKernel(tmp_path / "kernel", "key", "base", "0.0-fake", (), 0.0)
    made.bzimage.parent.mkdir(parents=True)
    made.bzimage.write_bytes(b"image")
    made.write_stamp()
    return made


def _fake_qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str = ":") -> Path:
    real = shutil.which("qemu-system-x86_64")
    fake = tmp_path / "qemu"
    fake.write_text(_QEMU.format(real=real, then=then, pid=tmp_path / "pid"))
    fake.chmod(0o755)
    monkeypatch.setattr("kvmbpf.lab.boot.find_qemu", lambda: str(fake))
    return tmp_path / "pid"


def _fails(kernel: LabKernel, **options: float) -> str:
    timeout = options.pop("timeout", None)
    begin = time.monotonic()
    with (
        pytest.raises(LabError) as caught,
        LabRun(kernel, ["true"], boot_timeout_s=options.get("boot")) as run,
    ):
        run.wait(timeout)
    assert time.monotonic() - begin < 60
    return str(caught.value)


def _assert_ends_with_the_console(said: str) -> None:
    tail = said.split("its console ended with:\n")[1].splitlines()
    assert tail[-1] == "line 30 of the console"
    assert len(tail) == 20


def test_a_boot_that_hangs_ends_with_the_consoles_last_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: LabKernel
) -> None:
    pid = _fake_qemu(tmp_path, monkeypatch)
    said = _fails(kernel, boot=3)
    assert said.startswith("the lab did not boot within 3 s; ")
    _assert_ends_with_the_console(said)
    eventually(lambda: not alive(int(pid.read_text())))


def test_a_command_that_hangs_ends_so_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: LabKernel
) -> None:
    pid = _fake_qemu(tmp_path, monkeypatch, STARTED)
    said = _fails(kernel, boot=2, timeout=4)
    assert said.startswith("the command did not end within 4 s; ")
    _assert_ends_with_the_console(said)
    eventually(lambda: not alive(int(pid.read_text())))


def test_a_qemu_that_ends_early_is_no_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: LabKernel
) -> None:
    _fake_qemu(tmp_path, monkeypatch, "exit 1")
    said = _fails(kernel)
    assert said.startswith("the lab went down while it booted; ")
    _assert_ends_with_the_console(said)


def test_a_debug_kernel_is_given_more(kernel: LabKernel) -> None:
    debug = LabKernel(kernel.folder, "key", "base", "0.0-fake", (), 0.0, debug=True)
    plain_run, debug_run = LabRun(kernel, ["true"]), LabRun(debug, ["true"])
    assert (plain_run.memory, plain_run.boot_timeout_s) == (PLAIN.memory, PLAIN.boot_timeout_s)
    assert (debug_run.memory, debug_run.boot_timeout_s) == ("4G", DEBUG.boot_timeout_s)
    assert LabRun(debug, ["true"], memory="1G", boot_timeout_s=5).memory == "1G"
    assert debug.guest_mib > kernel.guest_mib


@pytest.mark.parametrize(
    ("accelerator", "shadows", "options", "cpus", "nested_paging"),
    [
        ("kvm", False, {}, CPUS, True),
        ("tcg", True, {}, CPUS, False),
        ("tcg", True, {"cpus": 1}, 1, True),
        ("tcg", True, {"nested_paging": True}, CPUS, True),
        ("tcg", False, {}, 1, True),
        ("tcg", False, {"cpus": 2}, 2, True),
        ("tcg", True, {"icount": True}, 1, True),
    ],
)
def test_cpus_and_paging_are_what_the_emulation_bears(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kernel: LabKernel,
    accelerator: str,
    shadows: bool,
    options: dict[str, Any],
    cpus: int,
    nested_paging: bool,
) -> None:
    _fake_qemu(tmp_path, monkeypatch)
    chosen = Accelerator(accelerator, "for the test")
    monkeypatch.setattr("kvmbpf.lab.boot.choose_accelerator", lambda: chosen)
    monkeypatch.setattr("kvmbpf.lab.boot.runs_shadowed_guests", lambda _: shadows)
    with LabRun(kernel, ["true"], **options) as run:
        assert (run.cpus, run.nested_paging) == (cpus, nested_paging)


@pytest.mark.parametrize(("icount", "cpu"), [(True, "max,-erms,-fsrm"), (False, "max")])
def test_a_copy_is_not_counted_by_the_byte(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kernel: LabKernel,
    icount: bool,
    cpu: str,
) -> None:
    told = tmp_path / "arguments"
    pid = _fake_qemu(tmp_path, monkeypatch, f'printf "%s\\n" "$@" >{told}')
    chosen = Accelerator("tcg", "for the test")
    monkeypatch.setattr("kvmbpf.lab.boot.choose_accelerator", lambda: chosen)
    with LabRun(kernel, ["true"], icount=icount):
        eventually(pid.exists)
    arguments = told.read_text().splitlines()
    given = [after for before, after in itertools.pairwise(arguments) if before == "-cpu"]
    assert given[-1] == cpu  # the last one holds


def test_a_kernel_that_was_removed_is_not_booted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: LabKernel
) -> None:
    _fake_qemu(tmp_path, monkeypatch)
    (kernel.folder / "stamp.json").unlink()
    with pytest.raises(LabError, match="this kernel was just removed; build it again"):
        LabRun(kernel, ["true"]).start()
    shutil.rmtree(kernel.folder)
    run = LabRun(kernel, ["true"])
    with pytest.raises(LabError, match="cannot use this kernel"):
        run.start()
    with pytest.raises(StateError):
        run.running()
