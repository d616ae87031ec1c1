# SPDX-License-Identifier: GPL-2.0-or-later
"""Around a boot: the accelerator, the script inside, the pipes, the log's reading."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from kvmbpf.lab import choose_accelerator, kernel_complaints
from kvmbpf.lab.accel import runs_shadowed_guests
from kvmbpf.lab.guest import guest_script
from kvmbpf.lab.pump import Pump


def _machine(root: Path, flags: str, module: str = "", nested: str = "") -> Path:
    (root / "proc").mkdir()
    (root / "proc/cpuinfo").write_text(f"processor\t: 0\nflags\t\t: fpu {flags} sse\n")
    if module:
        parameters = root / "sys/module" / module / "parameters"
        parameters.mkdir(parents=True)
        (parameters / "nested").write_text(f"{nested}\n")
    (root / "dev").mkdir()
    (root / "dev/kvm").touch()
    return root


@pytest.mark.parametrize(
    ("flags", "module", "nested", "name", "reason"),
    [
        ("svm", "kvm_amd", "1", "kvm", "svm with nesting on"),
        ("vmx", "kvm_intel", "Y", "kvm", "vmx with nesting on"),
        ("vmx", "kvm_intel", "N", "tcg", "nesting is off in kvm_intel"),
        ("svm", "", "", "tcg", "kvm_amd is not loaded"),
        ("aes", "", "", "tcg", "neither SVM nor VMX"),
        ("svm_lock", "", "", "tcg", "neither SVM nor VMX"),
    ],
)
def test_kvm_is_chosen_only_where_it_nests(
    tmp_path: Path, flags: str, module: str, nested: str, name: str, reason: str
) -> None:
    chosen = choose_accelerator(_machine(tmp_path, flags, module, nested))
    assert chosen.name == name
    assert reason in chosen.reason


def test_without_dev_kvm_it_is_tcg(tmp_path: Path) -> None:
    root = _machine(tmp_path, "svm", "kvm_amd", "1")
    (root / "dev/kvm").unlink()
    assert choose_accelerator(root).name == "tcg"


@pytest.mark.parametrize(
    ("version", "works"),
    [
        ("7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)", True),
        ("10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)", False),
        ("11.1.0", False),
        ("of none", False),
    ],
)
def test_shadow_paging_goes_by_qemus_version(tmp_path: Path, version: str, works: bool) -> None:
    qemu = tmp_path / "qemu"
    qemu.write_text(f"#!/bin/sh\necho 'QEMU emulator version {version}'\n")
    qemu.chmod(0o700)
    assert runs_shadowed_guests(str(qemu)) == works


def test_the_script_inside_quotes_what_it_is_given() -> None:
    odd = """a 'b' "c" $(exit 3) `x` \\ ;&|"""
    script = guest_script(
        ["printf", "%s", odd],
        rw=Path("/srv/a b'c"),
        cwd=Path("/srv/$x`y"),
        environment={"ODD": odd},
    )
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    line = next(line for line in script.splitlines() if line.startswith("env -i"))
    command = line.split(" </dev/null")[0]
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == odd


def test_a_pump_carries_every_byte() -> None:
    data = bytes(range(256)) * 4096
    reader, writer = os.pipe()
    with Pump(writer) as pump:
        source = os.dup(pump.writer)
        pump.begin()
        pid = os.fork()
        if pid == 0:
            with os.fdopen(source, "wb") as out:
                out.write(data)
            os._exit(0)
        os.close(source)
        got = b""
        while len(got) < len(data):
            got += os.read(reader, 65536)
        os.waitpid(pid, 0)
    os.close(writer)
    assert os.read(reader, 1) == b""
    os.close(reader)
    assert got == data


def test_a_pump_drains_for_a_reader_that_went_away() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with Pump(writer) as pump:
        source = os.dup(pump.writer)
        pump.begin()
        for _ in range(64):
            os.write(source, bytes(4096))
        os.close(source)
    os.close(writer)


def test_a_pump_drains_for_a_full_disk_and_says_why() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with Pump(full) as pump:
        source = os.dup(pump.writer)
        pump.begin()
        for _ in range(64):
            os.write(source, bytes(4096))
        os.close(source)
        pump.finish()
        assert pump.error is not None
        assert pump.error.errno == errno.ENOSPC
    os.close(full)


def test_a_pump_keeps_what_has_no_target() -> None:
    with Pump(None) as pump:
        source = os.dup(pump.writer)
        pump.begin()
        os.write(source, b"one\r\ntwo\n")
        os.close(source)
        pump.finish()
        assert pump.text() == "one\ntwo\n"


BAD = [
    "[    1.0] BUG: kernel NULL pointer dereference, address: 0000000000000008",
    "[    1.0] WARNING: CPU: 0 PID: 1 at virt/kvm/kvm_main.c:1 kvm_x+0x1/0x2",
    "[    1.0] Oops: 0002 [#1] PREEMPT SMP",
    "[    1.0] kernel BUG at mm/slub.c:1!",
    "[    1.0] general protection fault, probably for non-canonical address",
    "[    1.0] Kernel panic - not syncing: x",
    "[    1.0] BUG: KASAN: slab-use-after-free in kvm_put_kvm",
    "[    1.0] WARNING: possible circular locking dependency detected",
    "[    1.0] WARNING: suspicious RCU usage",
    "[    1.0] INFO: task kvm:12 blocked for more than 120 seconds.",
    "[    1.0] rcu: INFO: rcu_sched self-detected stall on CPU",
    "[    1.0] watchdog: BUG: soft lockup - CPU#0 stuck for 22s!",
    "[    1.0] refcount_t: underflow; use-after-free.",
    "[    1.0] unregister_netdevice: waiting for lo to become free. Usage count = 2",
    "[    1.0] list_del corruption. prev->next should be x",
]
GOOD = [
    "[    0.0] Linux version 6.12.1-kvmbpf (kvmbpf@lab) (gcc) #1 SMP",
    "[    0.1] DEBUG: nothing to see",
    "[    0.1] Warning: unable to open an initial console.",
    "[    0.2] x86/cpu: SGX disabled by BIOS.",
    "[    0.3] kvm: Nested Virtualization enabled",
    '[    2.0] virtme-ng-init: WARNING: failed to run: "systemd-tmpfiles" --create',
]


def test_complaints_are_found_and_nothing_else() -> None:
    assert kernel_complaints("\n".join(BAD + GOOD)) == BAD
