# SPDX-License-Identifier: GPL-2.0-or-later
"""`kvmbpf bench` under counted instructions: the figures that must hold."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.on_host


def test_an_ebpf_write_costs_hardly_more_than_an_ioeventfd() -> None:
    command = [sys.executable, "-m", "kvmbpf"]
    done = subprocess.run(
        [*command, "lab", "run", "--icount", "--", *command, "bench", "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    found = {item["path"]: item["ns"] for item in json.loads(done.stdout)}
    print(found)
    assert found["no access (loop alone)"] == pytest.approx(2, rel=0.05), "not instructions"
    assert found["MMIO write, eBPF"] <= 1.03 * found["MMIO write, ioeventfd"]
    assert found["MMIO read, eBPF"] > 0
