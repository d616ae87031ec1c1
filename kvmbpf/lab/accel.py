# SPDX-License-Identifier: GPL-2.0-or-later
"""What the lab boots under: real nested KVM where there is some, TCG elsewhere.

That /dev/kvm opens is not enough: under a para-virtual KVM it does, and a stock
kernel hangs in it after the boot ROM. What counts is that the CPU shows SVM or
VMX and that KVM's own nesting is on, so that the lab has a /dev/kvm too.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

_MODULES = {"svm": "kvm_amd", "vmx": "kvm_intel"}
# See `runs_shadowed_guests`.
_GOOD_FOR_SHADOWS = 7


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


def runs_shadowed_guests(qemu: str) -> bool:
    """Tell whether guests on KVM's shadow paging run where this QEMU emulates SVM.

    Linux guests of several vCPUs need that in a lab of several CPUs: on emulated nested
    paging (NPT) they die of double faults there, within minutes, under QEMU 7.2 and 10.0;
    in a lab of one CPU they do not. Under QEMU 7.2 they run on shadow paging. QEMU 10.0
    looks at the intercept of CR0 when a guest reads CR3, so that it gets the address of
    its shadow page table, and ends in the first instructions of its kernel. The
    versions between were not tried, and are not trusted.

    :param qemu: the path of QEMU.
    :raise OSError: when QEMU cannot be run.
    """
    done = subprocess.run([qemu, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"version (\d+)\.", done.stdout)
    return found is not None and int(found[1]) <= _GOOD_FOR_SHADOWS
