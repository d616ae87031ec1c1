# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab's kernel said nothing wrong, from its boot to the last test: runs last."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from kvmbpf.lab import kernel_complaints
from tests.lab.kmemleak import LEAK_ELSEWHERE, find_leaks, is_ours


@pytest.mark.debug_kernel
def test_the_kernel_logged_no_bug_and_no_warning() -> None:
    log = subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout
    assert "Linux version" in log, "the log's beginning was overwritten: enlarge log_buf_len"
    assert kernel_complaints(log) == []


@pytest.mark.debug_kernel(only=True)
def test_no_memory_of_kvm_or_bpf_was_lost(record_property: Callable[[str, object], None]) -> None:
    leaks = find_leaks()
    for leak in leaks:
        if not is_ours(leak):
            record_property(LEAK_ELSEWHERE, leak)
    assert "\n".join(filter(is_ours, leaks)) == ""
