# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel still holds after a test: asked of the kernel itself."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from tests.lab.pace import PACE

# Maps and programs are freed after a grace period, in the background.
_GRACE_S = 10.0 * PACE


def bpf_objects() -> list[str]:
    """Return the struct_ops maps and links that exist, and the programs of such maps."""
    found = []
    for kind in ("map", "link", "prog"):
        done = subprocess.run(
            ["bpftool", "-j", kind, "show"], capture_output=True, text=True, check=True
        )
        found += [
            f"{kind} {item['id']}"
            for item in json.loads(done.stdout)
            if item["type"] == "struct_ops"
        ]
    return found


def assert_nothing_leaked() -> None:
    """Require that no struct_ops object and no VM is left."""
    deadline = time.monotonic() + _GRACE_S
    while (left := [*bpf_objects(), *_vms()]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


def _vms() -> list[str]:
    folders = Path("/sys/kernel/debug/kvm").iterdir()
    return [f"VM {path.name}" for path in folders if path.is_dir()]
