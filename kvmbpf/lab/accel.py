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
# The QEMU after 7.2 with which it was tried: see `emulates_nested_paging`.
_NPT_SINCE = 10


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


def emulates_nested_paging(qemu: str, cpus: int) -> bool:
    """Tell whether the lab's KVM is to use nested paging (NPT) where QEMU emulates it.

    QEMU 7.2's emulation of it on several CPUs breaks Linux guests of several vCPUs: they
    die of double faults, within minutes, when other processes have the lab's CPUs too;
    with KVM's shadow paging they do not. With QEMU 10.0 guests on shadow paging
    end as soon as they start, while those on nested paging live.

    :param qemu: the path of QEMU.
    :param cpus: how many the lab has.
    :raise OSError: when QEMU cannot be run.
    """
    done = subprocess.run([qemu, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"version (\d+)\.", done.stdout)
    return cpus == 1 or (found is not None and int(found[1]) >= _NPT_SINCE)
