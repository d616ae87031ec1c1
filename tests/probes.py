# SPDX-License-Identifier: GPL-2.0-or-later
"""What this machine lacks for a kind of test: one probe a kind.

A probe tries the thing itself rather than asking about it: a capability may be
there and the system call filtered, a device node may be there and refuse.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
from collections.abc import Callable
from functools import cache
from pathlib import Path

from kvmbpf.errors import KvmBpfError
from kvmbpf.lab.boot import find_qemu, find_virtme_run
from kvmbpf.lab.kernel import make_plan
from kvmbpf.lab.series import load_series

_BPF_SYSCALL = {"x86_64": 321, "aarch64": 280}
_BPF_MAP_CREATE = 0
_BPF_MAP_TYPE_ARRAY = 2
_CAP_PERFMON, _CAP_BPF, _CAP_SYS_ADMIN = 38, 39, 21
_KVM_GET_API_VERSION = 0xAE00


def _lacks_bpf() -> str | None:
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    held = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
    admin = held >> _CAP_SYS_ADMIN & 1
    if not admin and not (held >> _CAP_BPF & 1 and held >> _CAP_PERFMON & 1):
        return "no CAP_BPF and CAP_PERFMON: run as root"
    number = _BPF_SYSCALL.get(platform.machine())
    if number is None:
        return f"the bpf() system call's number on {platform.machine()} is not known here"
    libc = ctypes.CDLL(None, use_errno=True)
    attr = (ctypes.c_uint32 * 32)(_BPF_MAP_TYPE_ARRAY, 4, 8, 1)
    fd = libc.syscall(number, _BPF_MAP_CREATE, ctypes.byref(attr), ctypes.sizeof(attr))
    if fd < 0:
        return f"bpf(BPF_MAP_CREATE) fails: {errno.errorcode.get(ctypes.get_errno(), '?')}"
    os.close(fd)
    return None


def _lacks_kvm() -> str | None:
    try:
        fd = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return f"/dev/kvm does not open: {error.strerror}"
    try:
        version = fcntl.ioctl(fd, _KVM_GET_API_VERSION, 0)
    except OSError as error:
        return f"ioctl(KVM_GET_API_VERSION) fails: {error.strerror}"
    finally:
        os.close(fd)
    return None if version == 12 else f"KVM's API version is {version}, not 12"


def _lacks_lab() -> str | None:
    if os.environ.get("KVMBPF_IN_LAB"):
        return None
    try:
        find_qemu()
        find_virtme_run()
        make_plan(load_series())
    except KvmBpfError as error:
        return str(error)
    return None


PROBES: dict[str, Callable[[], str | None]] = {
    "bpf": _lacks_bpf,
    "kvm": _lacks_kvm,
    "lab": _lacks_lab,
}


@cache
def lacks(kind: str) -> str | None:
    """Return what this machine lacks for a kind of test, or None when it has all."""
    probe = PROBES.get(kind)
    return probe() if probe is not None else None
