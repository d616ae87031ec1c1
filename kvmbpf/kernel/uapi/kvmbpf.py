# SPDX-License-Identifier: GPL-2.0-or-later
"""The numbers and structures of the author's header that user space shares.

Source: kvmbpf/author/bpf/kvmbpf_access.h and kvmbpf_entry.h.
"""

from __future__ import annotations

import ctypes
import errno
from typing import Final

# what a body returns
KVMBPF_ANSWERED: Final = 0
KVMBPF_DECLINE: Final = -errno.EOPNOTSUPP

# The programs that a VMM calls, of the three bodies, and what KVM calls for a reset.
CALL_READ: Final = "kvmbpf_call_read"
CALL_WRITE: Final = "kvmbpf_call_write"
CALL_RESET: Final = "kvmbpf_call_reset"
CALLS: Final = frozenset({CALL_READ, CALL_WRITE, CALL_RESET})
KERNEL_RESET: Final = "kvmbpf_reset"

# What the names of the header's own maps begin with: they are left out where
# nothing that is loaded refers to them.
OWN_MAPS: Final = ("kvmbpf_", ".data.kvmbpf_")

KVMBPF_LOG_BYTES: Final = 112


class kvmbpf_call(ctypes.Structure):
    """``struct kvmbpf_call``: context of the programs in `CALLS`, copied in and out."""

    _fields_ = (
        ("region", ctypes.c_uint32),
        ("len", ctypes.c_uint32),
        ("vcpu", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("offset", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
        ("result", ctypes.c_int32),
        ("irqs", ctypes.c_uint32),
        ("levels", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    )


class kvmbpf_log_record(ctypes.Structure):
    """``struct kvmbpf_log_record``: what kvmbpf_log() puts into the ring buffer."""

    _fields_ = (
        ("time_ns", ctypes.c_uint64),
        ("length", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("text", ctypes.c_char * KVMBPF_LOG_BYTES),
    )
