# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab is what it says: our kernel, with a KVM that works, on this machine's files."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from kvmbpf.lab import find_kernel

KVM_GET_API_VERSION = 0xAE00
KVM_CREATE_VM = 0xAE01


def test_runs_the_kernel_of_this_series() -> None:
    kernel = find_kernel()
    assert kernel is not None
    assert os.uname().release == kernel.release
    assert "-kvmbpf" in kernel.release
    assert f"#{kernel.key} " in os.uname().version


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
