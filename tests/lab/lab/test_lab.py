# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab is what it says: our kernel, with a KVM that works, on this machine's files."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmbpf.lab import find_kernel
from kvmbpf.lab.kernel import LAB_DEBUG_VARIABLE

KVM_GET_API_VERSION = 0xAE00
KVM_CREATE_VM = 0xAE01


@pytest.mark.debug_kernel
def test_runs_the_kernel_of_this_series(lab_kernel: str) -> None:
    kernel = find_kernel()
    assert kernel is not None
    assert os.uname().release == kernel.release
    assert "-kvmbpf" in kernel.release
    assert f"#{kernel.key} " in os.uname().version
    assert kernel.debug == (lab_kernel == "debug")
    assert os.environ.get(LAB_DEBUG_VARIABLE) == ("1" if kernel.debug else None)


@pytest.mark.debug_kernel
def test_checkers_are_there_on_the_debug_kernel_only(lab_kernel: str) -> None:
    debug = lab_kernel == "debug"
    for path in ("/sys/kernel/debug/kmemleak", "/proc/lockdep", "/sys/kernel/debug/failslab"):
        assert Path(path).exists() == debug
    assert Path("/proc/self/fail-nth").exists() == debug


@pytest.fixture
def gfp_kernel_fails() -> Iterator[None]:
    """Have failslab take allocations that may wait, too: by default it spares them."""
    spared = Path("/sys/kernel/debug/failslab/ignore-gfp-wait")
    spared.write_text("N", encoding="ascii")
    yield
    spared.write_text("Y", encoding="ascii")


@pytest.mark.debug_kernel(only=True)
def test_an_allocation_can_be_made_to_fail(gfp_kernel_fails: None) -> None:
    """Have each step of making a pipe fail in turn, until one is made despite that."""
    seen = set()
    with Path("/proc/thread-self/fail-nth").open("r+b", buffering=0) as file:
        for nth in range(1, 100):
            file.write(b"%d" % nth)
            try:
                ends = os.pipe()
            except OSError as error:
                seen.add(error.errno)
                continue
            # It may be this very write whose copy from user space fails.
            with contextlib.suppress(OSError):
                file.write(b"0")
            for end in ends:
                os.close(end)
            break
    assert seen & {errno.ENOMEM, errno.ENFILE}


def test_nested_virtualisation_is_visible() -> None:
    flags = Path("/proc/cpuinfo").read_text(encoding="ascii").split()
    assert "svm" in flags or "vmx" in flags


def test_kvm_makes_a_vm() -> None:
    kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    try:
        assert fcntl.ioctl(kvm, KVM_GET_API_VERSION, 0) == 12
        os.close(fcntl.ioctl(kvm, KVM_CREATE_VM, 0))
    finally:
        os.close(kvm)


def test_bpffs_takes_folders() -> None:
    folder = Path("/sys/fs/bpf/kvmbpf-test")
    folder.mkdir()
    folder.rmdir()


def test_the_root_is_read_only_and_the_checkout_is_not() -> None:
    assert os.statvfs("/").f_flag & os.ST_RDONLY
    assert not os.statvfs(Path(__file__)).f_flag & os.ST_RDONLY


def test_btf_of_the_kernel_is_there() -> None:
    assert Path("/sys/kernel/btf/vmlinux").read_bytes()[:2] == b"\x9f\xeb"
