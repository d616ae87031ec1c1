# SPDX-License-Identifier: GPL-2.0-or-later
"""What the lab boots under: real nested KVM where there is some, TCG elsewhere.

That /dev/kvm opens is not enough: under a para-virtual KVM it does, and a stock
kernel hangs in it after the boot ROM. What counts is that the CPU shows SVM or
VMX and that KVM's own nesting is on, so that the lab has a /dev/kvm too.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_MODULES = {"svm": "kvm_amd", "vmx": "kvm_intel"}


@dataclass(frozen=True)
class Accelerator:
    """An accelerator of QEMU, and why it was chosen.

    :param name: ``kvm`` or ``tcg``.
    :param reason: a clause for people.
    """

    name: str
    reason: str


def choose_accelerator(root: Path = Path("/")) -> Accelerator:
    """Choose what the lab boots under on this machine.

    :param root: where proc, sys and dev are; the root, but for tests.
    """
    cpuinfo = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    match = re.search(r"^flags\s*:.*\b(svm|vmx)\b", cpuinfo, re.MULTILINE)
    if match is None:
        return Accelerator("tcg", "the CPU shows neither SVM nor VMX")
    module = _MODULES[match[1]]
    nested = root / "sys/module" / module / "parameters/nested"
    try:
        value = nested.read_text(encoding="utf-8").strip()
    except OSError:
        return Accelerator("tcg", f"{module} is not loaded")
    if value not in ("1", "Y"):
        return Accelerator("tcg", f"nesting is off in {module}")
    if not os.access(root / "dev/kvm", os.R_OK | os.W_OK):
        return Accelerator("tcg", "/dev/kvm is not open to this user")
    return Accelerator("kvm", f"{match[1]} with nesting on")
