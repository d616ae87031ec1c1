# SPDX-License-Identifier: GPL-2.0-or-later
"""The ``kvmbpf`` command as a process of its own, and how a refusal looks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

KVMBPF = [sys.executable, "-m", "kvmbpf"]


def run_kvmbpf(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command whose store is a folder."""
    own = {"KVMBPF_RUN_DIR": str(folder / "run"), "KVMBPF_BPFFS": str(folder / "bpf")}
    return subprocess.run(
        [*KVMBPF, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | own,
        stdin=subprocess.DEVNULL,
    )


def assert_refused(done: subprocess.CompletedProcess[str], code: int, sentence: str) -> None:
    """Look whether a command says one line, and exits with the code."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert sentence in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 or code == 2, "one line, but for the usage that click adds"
