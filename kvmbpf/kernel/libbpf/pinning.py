# SPDX-License-Identifier: GPL-2.0-or-later
"""Pins: names in bpffs that keep a map, a program or a link alive.

The calls only; where pins go, and who removes them, is for the caller.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from kvmbpf.errors import BadFileError, KernelCallError, StateError
from kvmbpf.kernel.fd import OwnedFd
from kvmbpf.kernel.libbpf.lib import call_failed, libbpf

# what /proc/self/fd shows for each kind (kernel/bpf/syscall.c: anon_inode_getfd, _getfile);
# a link is bpf-link from bpf_obj_get(), bpf_link where it was made
_KINDS = {"bpf-map": "map", "bpf-prog": "program", "bpf-link": "link", "bpf_link": "link"}
_PIN_HINTS = {
    errno.EPERM: "the directory must be on a bpffs: mount -t bpf bpf /sys/fs/bpf",
    errno.EINVAL: "the directory must be on a bpffs: mount -t bpf bpf /sys/fs/bpf",
    errno.ENOENT: "make its directory first",
}


def pin(fd: int, path: Path) -> None:
    """Give a map, program or link a name in bpffs.

    :param fd: its descriptor (C ``int``), still the caller's.
    :param path: the name to make, in a directory that exists.
    :raise StateError: when the name is taken.
    :raise KernelCallError: when the kernel refuses, as outside of a bpffs.
    """
    result: int = libbpf().bpf_obj_pin(fd, os.fsencode(path))
    if result == -errno.EEXIST:
        raise StateError(f"{path} exists already: detach what it holds, or choose another name")
    if result < 0:
        raise call_failed(f"bpf_obj_pin({path})", result, _PIN_HINTS.get(-result, ""))


def unpin(path: Path) -> None:
    """Remove a name from bpffs; one that is not there is fine.

    :raise KernelCallError: when it cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise KernelCallError(f"unlink({path})", error.errno or 0) from error


def open_pinned(path: Path, kind: str) -> OwnedFd:
    """Open what a name in bpffs holds.

    :param kind: ``map``, ``program`` or ``link``.
    :return: the descriptor, the caller's from now on.
    :raise BadFileError: when there is no such pin, or it holds another kind.
    :raise KernelCallError: when the kernel refuses for another reason.
    """
    fd: int = libbpf().bpf_obj_get(os.fsencode(path))
    if fd in (-errno.ENOENT, -errno.ENOTDIR):
        raise BadFileError(path, f"no such pin: a pinned {kind} was expected")
    if fd < 0 and path.exists():
        what = f"not a pin: a pinned {kind} was expected"
        if fd in (-errno.EINVAL, -errno.EACCES) and not _on_bpffs(path):
            raise BadFileError(path, what)
    if fd < 0:
        raise call_failed(f"bpf_obj_get({path})", fd)
    owned = OwnedFd(fd, f"{kind} {path}")
    link = os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115 - in each update, a dozen times
    found = _KINDS.get(link.removeprefix("anon_inode:").strip("[]"), link)
    if found != kind:
        owned.close()
        raise BadFileError(path, f"it holds: {found}; expected: {kind}")
    return owned


def _on_bpffs(path: Path) -> bool:
    """Tell whether a path is on a bpffs, from the mount table."""
    device = path.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        if left.split()[2] == wanted:
            return right.split()[0] == "bpf"
    return False
