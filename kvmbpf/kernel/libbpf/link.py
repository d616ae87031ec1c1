# SPDX-License-Identifier: GPL-2.0-or-later
"""Links: the attachment of a struct_ops map, as a thing of its own.

A link is by descriptor alone, so that one from a pin, in a process that never
saw the object, can do all that the first one can. The last reference that goes
(descriptors and pins) detaches. A link whose device has gone is defunct: its
map is 0, and it tells so once to whoever polls it.
"""

from __future__ import annotations

import ctypes
import errno
import select
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.closing import Closing
from kvmbpf.errors import BadFileError, KernelCallError, StateError
from kvmbpf.kernel.fd import OwnedFd
from kvmbpf.kernel.libbpf import pinning
from kvmbpf.kernel.libbpf.lib import call_failed, libbpf
from kvmbpf.kernel.libbpf.map import BpfMap
from kvmbpf.kernel.libbpf.protos import bpf_link_update_opts
from kvmbpf.kernel.uapi import bpf as uapi


@dataclass(frozen=True)
class LinkInfo:
    """What the kernel says about a struct_ops link.

    :param type: ``BPF_LINK_TYPE_*``.
    :param id: the link's id (C ``__u32``).
    :param map_id: the attached map's id; 0 when the link is defunct.
    """

    type: int
    id: int
    map_id: int

    @property
    def defunct(self) -> bool:
        """Tell whether nothing is attached any more."""
        return self.map_id == 0


class BpfLink(Closing):
    """A struct_ops link.

    :param fd: its descriptor; this object owns it from now on.
    """

    def __init__(self, fd: OwnedFd) -> None:
        self._fd = fd

    @classmethod
    def open_pinned(cls, path: str | Path) -> BpfLink:
        """Open a link from its pin.

        :raise BadFileError: when there is no such pin, or it holds no
            struct_ops link.
        :raise KernelCallError: when the kernel refuses.
        """
        path = Path(path)
        link = BpfLink(pinning.open_pinned(path, "link"))
        try:
            kind = link.info().type
            if kind != uapi.BPF_LINK_TYPE_STRUCT_OPS:
                raise BadFileError(path, f"holds a link of type {kind}: struct_ops was expected")
        except BaseException:
            link.close()
            raise
        return link

    @property
    def fd(self) -> int:
        """The descriptor (C ``int``), still owned by this object.

        :raise StateError: when the link is closed.
        """
        return self._fd.fileno()

    def fileno(self) -> int:
        """Return the descriptor (C ``int``), for poll and select.

        :raise StateError: when the link is closed.
        """
        return self._fd.fileno()

    def update(self, new: BpfMap, expected: BpfMap | None = None) -> None:
        """Put another struct_ops map in place of the attached one, in one step.

        :param new: a loaded struct_ops map that `StructOps.prepare` filled.
        :param expected: replace only this one.
        :raise StateError: when the link is defunct or closed, or another map
            than the expected one is attached.
        :raise KernelCallError: when the kernel refuses.
        """
        opts = bpf_link_update_opts(sz=ctypes.sizeof(bpf_link_update_opts))
        if expected is not None:
            opts.flags = uapi.BPF_F_REPLACE
            opts.old_map_fd = expected.fd
        result: int = libbpf().bpf_link_update(self.fd, new.fd, ctypes.byref(opts))
        if result == 0:
            return
        if self.info().defunct:
            raise StateError("the link is defunct: its device has gone, or it was detached")
        if result == -errno.EPERM and expected is not None and self.info().map_id != expected.id:
            raise StateError("another program was attached meanwhile: look again, then retry")
        hints = {
            errno.EINVAL: "the new map must be prepared, and of the same struct_ops type",
            errno.EOPNOTSUPP: "this struct_ops type cannot be replaced while attached",
        }
        raise call_failed(f"BPF_LINK_UPDATE({new.name})", result, hints.get(-result, ""))

    def detach(self) -> None:
        """Detach now, whoever else holds the link; it stays, defunct. Twice is fine.

        :raise StateError: when the link is closed.
        :raise KernelCallError: when the kernel refuses.
        """
        result: int = libbpf().bpf_link_detach(self.fd)
        if result < 0:
            raise call_failed("BPF_LINK_DETACH", result)

    def info(self) -> LinkInfo:
        """Ask the kernel about the link.

        :raise StateError: when the link is closed.
        :raise KernelCallError: when the kernel refuses.
        """
        info = uapi.bpf_link_info()
        length = ctypes.c_uint32(ctypes.sizeof(info))
        result: int = libbpf().bpf_obj_get_info_by_fd(
            self.fd, ctypes.byref(info), ctypes.byref(length)
        )
        if result < 0:
            raise call_failed("bpf_obj_get_info_by_fd()", result)
        return LinkInfo(info.type, info.id, info.struct_ops_map_id)

    def wait_detached(self, timeout_s: float | None = None) -> bool:
        """Wait until the link is defunct, as when the VM has gone.

        :param timeout_s: at most so long, in seconds; 0 looks once, None waits on.
        :return: whether it is.
        :raise StateError: when the link is closed.
        :raise KernelCallError: when poll fails.
        """
        poller = select.poll()
        poller.register(self.fd, 0)  # POLLHUP is always told
        try:
            return bool(poller.poll(None if timeout_s is None else timeout_s * 1000))
        except OSError as error:
            raise KernelCallError("poll(link)", error.errno or 0) from error

    def pin(self, path: str | Path) -> None:
        """Give the link a name in bpffs, which keeps it attached.

        :raise StateError: when the name is taken, or the link is closed.
        :raise KernelCallError: when the kernel refuses.
        """
        pinning.pin(self.fd, Path(path))

    @staticmethod
    def unpin(path: str | Path) -> None:
        """Remove a link's name; detaches if nothing else holds the link.

        :raise KernelCallError: when it cannot be removed.
        """
        pinning.unpin(Path(path))

    def close(self) -> None:
        """Close the descriptor; detaches if nothing else holds the link. Twice is fine."""
        self._fd.close()

    def __repr__(self) -> str:
        return f"<BpfLink {self._fd!r}>"
