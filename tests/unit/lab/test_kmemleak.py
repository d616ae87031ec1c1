# SPDX-License-Identifier: GPL-2.0-or-later
"""Leaks are told apart by their backtraces, and by nothing else of what kmemleak says."""

from __future__ import annotations

import pytest

from tests.lab.kmemleak import is_ours, split_leaks

LEAK = """unreferenced object 0xffff888003a8c000 (size 64):
  comm "{comm}", pid 1, jiffies 4294667349
  hex dump (first 32 bytes):
    6b 76 6d 00 00 00 00 00 00 00 00 00 00 00 00 00  kvm.............
  backtrace (crc 2d8a3d1):
    __kmalloc_cache_noprof+0x2a1/0x310
    {function}+0x5c/0x2d0
    do_syscall_64+0x6c/0x110
"""


@pytest.mark.parametrize(
    ("comm", "function", "expected"),
    [
        ("pytest", "kvm_bpf_create", True),
        ("pytest", "[<00000000deadbeef>] kvm_bpf_create", True),
        ("pytest", "__do_sys_bpf", True),
        ("pytest", "x86_KVM_thing", True),
        ("kvm-nx-lpage-re", "acpi_ut_create", False),
    ],
)
def test_a_leak_is_ours_by_its_backtrace(comm: str, function: str, expected: bool) -> None:
    assert is_ours(LEAK.format(comm=comm, function=function)) is expected


def test_what_kmemleak_says_is_split_into_leaks() -> None:
    one, two = LEAK.format(comm="a", function="b"), LEAK.format(comm="c", function="d")
    assert split_leaks(one + two) == [one.rstrip(), two.rstrip()]
    assert split_leaks("") == []
