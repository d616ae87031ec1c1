# SPDX-License-Identifier: GPL-2.0-or-later
"""The structures between a natively compiled device and its test.

Source: kvmbpf/author/bpf/kvmbpf_native.h, which has them in the same order.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

PREFIX: Final = "kvmbpf_native"

BY_ACCESS: Final = 0

MONOTONIC: Final = 0
TAI: Final = 1

_int, _long, _u32, _u64, _pointer, _text = (
    ctypes.c_int,
    ctypes.c_long,
    ctypes.c_uint32,
    ctypes.c_uint64,
    ctypes.c_void_p,
    ctypes.c_char_p,
)

# name -> (what it returns, what it takes), in the order of struct kvmbpf_native
CALLS: Final[dict[str, tuple[Any, ...]]] = {
    "irq": (_int, _u32, _u32),
    "guest": (_int, _u64, _pointer, _u32, _u32),
    "timer_start": (_int, _pointer, _u64, _u32),
    "timer_cancel": (_int, _pointer),
    "work_start": (_int, _pointer, _u32),
    "kick": (_int, _u32),
    "uclamp": (_int, _u32, _u32, _u32),
    "frequency": (_u32, _u32),
    "log": (None, _text, ctypes.POINTER(_u64), _u32),
    "clock": (_u64, _u32),
    "random": (_u32,),
    "lock": (None, _pointer, _u32),
    "map_lookup": (_pointer, _pointer, _pointer),
    "map_update": (_long, _pointer, _pointer, _pointer, _u64),
    "map_delete": (_long, _pointer, _pointer),
    "map_take": (_long, _pointer, _pointer, _u32),
    "map_for_each": (_long, _pointer, _pointer, _pointer, _u64),
    "ring_reserve": (_pointer, _pointer, _u64, _u64),
    "ring_commit": (None, _pointer, _u32),
    "ring_query": (_u64, _pointer, _u64),
    "snprintf": (_long, _pointer, _u32, _text, ctypes.POINTER(_u64), _u32),
}
TYPES: Final = {name: ctypes.CFUNCTYPE(*types) for name, types in CALLS.items()}

BODY: Final = ctypes.CFUNCTYPE(None, _pointer)  # of a timer or a work
FOR_EACH: Final = ctypes.CFUNCTYPE(_long, _pointer, _pointer, _pointer, _pointer)


class Call(ctypes.Structure):
    """``struct kvmbpf_native_call``."""

    _fields_ = (
        ("offset", _u64),
        ("value", _u64),
        ("len", _u32),
        ("region", _u32),
        ("vcpu", _u32),
        ("reserved", _u32),
    )


class Deferred(ctypes.Structure):
    """``struct kvmbpf_native_deferred``."""

    _fields_ = (("name", _text), ("body", _pointer))


class Table(ctypes.Structure):
    """``struct kvmbpf_native``."""

    _fields_ = tuple((name, kind) for name, kind in TYPES.items())
