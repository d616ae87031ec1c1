# SPDX-License-Identifier: GPL-2.0-or-later
"""What this process may do: its capabilities, and who a file belongs to.

A system call that is refused says EPERM and no more, and libbpf hides even that
behind a probe that failed. So a command says beforehand which capabilities it
needs, and an error about a file says whose it is.

Source: include/uapi/linux/capability.h, v6.12.
"""

from __future__ import annotations

import pwd
from pathlib import Path

from kvmbpf.errors import KernelCallError, UnsupportedError

NUMBERS = {
    "CAP_DAC_OVERRIDE": 1,
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}
# CAP_SYS_ADMIN stands for these too: include/linux/bpf.h, perf_event.h, v6.12.
_IN_SYS_ADMIN = ("CAP_BPF", "CAP_PERFMON")


def effective(status: Path = Path("/proc/thread-self/status")) -> int:
    """Return this thread's capabilities in effect, as a bitmap (C ``__u64``)."""
    for line in status.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def lacking(*names: str, held: int | None = None) -> tuple[str, ...]:
    """Return those of some capabilities that this process does not have.

    :param names: as ``CAP_BPF``; one of `NUMBERS`.
    :param held: the capabilities as a bitmap (C ``__u64``); None asks the kernel.
    """
    bits = effective() if held is None else held
    admin = bits >> NUMBERS["CAP_SYS_ADMIN"] & 1
    return tuple(
        name
        for name in names
        if not bits >> NUMBERS[name] & 1 and not (admin and name in _IN_SYS_ADMIN)
    )


def require(what: str, *names: str) -> None:
    """Refuse to go on without some capabilities.

    :param what: what needs them, as ``kvmbpf update``.
    :raise UnsupportedError: when one is missing; it names those, and no others.
    """
    missing = lacking(*names)
    if missing:
        raise UnsupportedError(
            what,
            found=f"no {' and no '.join(missing)}",
            needed=" and ".join(names),
            mend="run it as root, or give the process what is missing",
        )


def refused(call: str, path: Path, error: OSError) -> KernelCallError:
    """Build the error of a call on a file, with whose it is where that is the cause.

    :param call: as ``open``.
    """
    hint = ""
    if isinstance(error, PermissionError):
        hint = f"{_owner(path)}: run as that user, or with CAP_DAC_OVERRIDE"
    return KernelCallError(f"{call}({path})", error.errno or 0, hint)


def _owner(path: Path) -> str:
    """Say whose a file is, or the nearest folder above it that shows."""
    for place in (path, *path.parents):
        try:
            found = place.stat()
        except OSError:
            continue
        return f"{place} is {user_name(found.st_uid)}'s, mode {found.st_mode & 0o7777:o}"
    return f"{path} does not show"


def user_name(uid: int) -> str:
    """Return a user's name, or ``uid N`` where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
