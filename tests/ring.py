# SPDX-License-Identifier: GPL-2.0-or-later
"""The records in a device's log, read without consuming them.

Reads the ring buffer's pages by themselves, so that the tests of the header
depend on nothing but the kernel's layout of it.
Source: kernel/bpf/ringbuf.c, v6.12.
"""

from __future__ import annotations

import ctypes
import mmap
import struct

from kvmbpf.kernel.libbpf.object import BpfObject
from kvmbpf.kernel.uapi.kvmbpf import kvmbpf_log_record

RING = "kvmbpf_log_ring"
_HEADER_BYTES = 8
_BUSY, _DISCARD = 1 << 31, 1 << 30


def log_records(loaded: BpfObject) -> list[kvmbpf_log_record]:
    """Return all records since the object was loaded; none may have been consumed."""
    ring = loaded.map(RING)
    size = ring.spec.max_entries
    with mmap.mmap(
        ring.fd, mmap.PAGESIZE + size, mmap.MAP_SHARED, mmap.PROT_READ, offset=mmap.PAGESIZE
    ) as pages:
        (produced,) = struct.unpack_from("=Q", pages)
        found, position = [], 0
        while position < produced:
            start = mmap.PAGESIZE + position
            (length,) = struct.unpack_from("=I", pages, start)
            assert not length & (_BUSY | _DISCARD)
            assert length == ctypes.sizeof(kvmbpf_log_record)
            content = pages[start + _HEADER_BYTES : start + _HEADER_BYTES + length]
            found.append(kvmbpf_log_record.from_buffer_copy(content))
            position += (_HEADER_BYTES + length + 7) // 8 * 8
    return found
