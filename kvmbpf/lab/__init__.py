# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab: the patched kernel, built once, booted over the host's own root.

`ensure_kernel` builds it into a cache, `find_kernel` finds it there, `LabRun`
boots it with virtme-ng and runs one command in it.
"""

from kvmbpf.lab.accel import Accelerator, choose_accelerator
from kvmbpf.lab.boot import LabResult, LabRun
from kvmbpf.lab.build import ensure_kernel
from kvmbpf.lab.kernel import LabKernel, find_kernel, require_kernel
from kvmbpf.lab.klog import kernel_complaints
from kvmbpf.lab.series import Series, load_series

__all__ = [
    "Accelerator",
    "LabKernel",
    "LabResult",
    "LabRun",
    "Series",
    "choose_accelerator",
    "ensure_kernel",
    "find_kernel",
    "kernel_complaints",
    "load_series",
    "require_kernel",
]
