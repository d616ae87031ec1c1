# SPDX-License-Identifier: GPL-2.0-or-later
"""What a load that was refused with EPERM needs, and which of it this process lacks.

Source: kernel/bpf/syscall.c, bpf_prog_load() and map_create(), v6.12.
"""

from __future__ import annotations

from pathlib import Path

from kvmbpf.kernel.rights import lacking

_NEEDED = ("CAP_PERFMON", "CAP_BPF", "CAP_SYS_ADMIN")
_WHOLE = ["0", "0", "4294967295"]  # /proc/self/uid_map of the host's own user namespace


def load_hint() -> str:
    """Say what a load that was refused with EPERM needs, and what is missing."""
    needs = "loading needs CAP_BPF and CAP_PERFMON, and struct_ops CAP_SYS_ADMIN"
    missing = lacking(*_NEEDED)
    if missing:
        return f"{needs}: this process lacks {', '.join(missing)}: run as root"
    if Path("/proc/self/uid_map").read_text().split() != _WHOLE:
        return f"{needs}: this process has them in a user namespace only: run as the host's root"
    return f"{needs}: this process has them, but the kernel's security settings forbid it"
