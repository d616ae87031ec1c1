# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab's kernel said nothing wrong, from its boot to the last test: runs last."""

from __future__ import annotations

import subprocess

from kvmbpf.lab import kernel_complaints


def test_the_kernel_logged_no_bug_and_no_warning() -> None:
    log = subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout
    assert "Linux version" in log, "the log's beginning was overwritten: enlarge log_buf_len"
    assert kernel_complaints(log) == []
