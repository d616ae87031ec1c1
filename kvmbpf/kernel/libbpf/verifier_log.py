# SPDX-License-Identifier: GPL-2.0-or-later
"""Room for the verifier's log of each program that is about to be loaded.

libbpf loads a program without a log first, and again with one when that
failed. The room is address space only: memory is taken as the kernel writes.
It is large, because a log that does not fit turns the error into ENOSPC.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Sequence

from kvmbpf.errors import KernelCallError
from kvmbpf.kernel.libbpf.lib import call_failed, libbpf
from kvmbpf.kernel.libbpf.program import BpfProgram

# A program of a million instructions, at the kernel's limit, logs less than the
# first; the second is libbpf's own default, for hosts that do not overcommit.
_SIZES = (256 << 20, 16 << 20)
_MAP_NORESERVE = 0x4000  # asm-generic/mman-common.h; in Python's mmap since 3.13


def _map_room(count: int) -> tuple[mmap.mmap, int]:
    failure = OSError()
    for size in _SIZES:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        try:
            return mmap.mmap(-1, max(count, 1) * size, flags), size
        except OSError as error:
            failure = error
    raise KernelCallError(f"mmap({count} verifier logs)", failure.errno or 0) from failure


class VerifierLogs:
    """The logs of some programs; a context manager around the load.

    :param programs: not loaded yet.
    :raise KernelCallError: when there is no room.
    """

    def __init__(self, programs: Sequence[BpfProgram]) -> None:
        self._programs = programs
        self._room, self._size = _map_room(len(programs))
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._room))
        for index, program in enumerate(programs):
            result: int = libbpf().bpf_program__set_log_buf(
                program.handle, start + index * self._size, self._size
            )
            if result < 0:
                self._room.close()
                raise call_failed(f"bpf_program__set_log_buf({program.name})", result)

    def failed(self) -> tuple[str, str] | None:
        """Return the name and log of the program that was refused, or None."""
        for index in reversed(range(len(self._programs))):
            start = index * self._size
            end = self._room.find(b"\0", start, start + self._size)
            log = self._room[start : end if end >= 0 else start + self._size]
            if log:
                return self._programs[index].name, log.decode(errors="replace")
        return None

    def __enter__(self) -> VerifierLogs:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._room.close()
