# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel series keeps the kernel's own rules."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kvmbpf.lab import load_series, require_kernel

pytestmark = pytest.mark.on_host

# Without a typedef clang 14 loses the tag of a kptr (bpf/kvm_bpf.bpf.h of the selftests).
IGNORED = ("--ignore", "NEW_TYPEDEFS")


@pytest.mark.parametrize("patch", load_series().patches, ids=lambda path: path.name[:4])
def test_checkpatch_has_nothing_to_say(patch: Path) -> None:
    done = subprocess.run(
        ["scripts/checkpatch.pl", "--strict", "--no-tree", "--quiet", *IGNORED, str(patch)],
        cwd=require_kernel().build_tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_options_default_is_off() -> None:
    kconfig = (require_kernel().build_tree / "virt/kvm/Kconfig").read_text(encoding="utf-8")
    entry = kconfig.split("config KVM_BPF\n")[1]
    assert "bool" in entry
    assert "default" not in entry
