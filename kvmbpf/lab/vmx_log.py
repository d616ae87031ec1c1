# SPDX-License-Identifier: GPL-2.0-or-later
"""What the guest's kernel complains of under Bochs, but for what Bochs is the reason of."""

from __future__ import annotations

import re

from kvmbpf.lab.klog import kernel_complaints

# What the kernel has to say of the CPUID of Bochs 2.7, once each, at its boot.
_OF_BOCHS = (
    re.compile(
        r"WARNING: CPU: 0 PID: 0 at arch/x86/kernel/cpu/topology_common\.c:\d+ parse_legacy\+"
    ),
    re.compile(
        r"WARNING: CPU: 0 PID: 0 at arch/x86/kernel/fpu/xstate\.c:\d+ fpu__init_system_xstate\+"
    ),
)
# The script's first line in the log: from here on the kernel is at the tests.
_FIRST_TEST = re.compile(r"^.*\bselftest kvm_\w+$", re.MULTILINE)


def vmx_complaints(log: str) -> list[str]:
    """Return what a log reports of bugs and warnings, but for what Bochs is the reason of.

    That is two warnings, by their names, once each, and before the first test.
    """
    first = _FIRST_TEST.search(log)
    at = first.start() if first else len(log)
    boot = kernel_complaints(log[:at])
    for known in _OF_BOCHS:
        mine = next((line for line in boot if known.search(line)), None)
        if mine is not None:
            boot.remove(mine)
    return boot + kernel_complaints(log[at:])
