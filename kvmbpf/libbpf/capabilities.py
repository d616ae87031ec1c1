# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of the capabilities that loading needs this process has not got.

Source: kernel/bpf/syscall.c, bpf_prog_load() and map_create(), v6.12, and
include/uapi/linux/capability.h.
"""

from __future__ import annotations

from pathlib import Path

_CAP_SYS_ADMIN = 21
_NEEDED = {"CAP_PERFMON": 38, "CAP_BPF": 39, "CAP_SYS_ADMIN": _CAP_SYS_ADMIN}
_WHOLE = ["0", "0", "4294967295"]  # /proc/self/uid_map of the host's own user namespace


def lacking() -> list[str]:
    """Return the names of those that this thread's effective set lacks.

    CAP_SYS_ADMIN stands for the other two.
    """
    for line in Path("/proc/thread-self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            have = int(line.split()[1], 16)
            if have >> _CAP_SYS_ADMIN & 1:
                return []
            return [name for name, bit in _NEEDED.items() if not have >> bit & 1]
    return []


def load_hint() -> str:
    """Say what a load that was refused with EPERM needs, and what is missing."""
    needs = "loading needs CAP_BPF and CAP_PERFMON, and struct_ops CAP_SYS_ADMIN"
    missing = lacking()
    if missing:
        return f"{needs}: this process lacks {', '.join(missing)}: run as root"
    if Path("/proc/self/uid_map").read_text().split() != _WHOLE:
        return f"{needs}: this process has them in a user namespace only: run as the host's root"
    return f"{needs}: this process has them, but the kernel's security settings forbid it"
