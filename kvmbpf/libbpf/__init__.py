# SPDX-License-Identifier: GPL-2.0-or-later
"""libbpf through ctypes: objects, maps, struct_ops, links, ring buffers.

Importing it loads nothing: libbpf itself is loaded by the first call.
"""

from kvmbpf.libbpf.carry import (
    Carried,
    StateComparison,
    carry_over,
    compare_state,
    is_header_log,
    state_name,
)
from kvmbpf.libbpf.link import BpfLink, LinkInfo
from kvmbpf.libbpf.map import BpfMap
from kvmbpf.libbpf.object import BpfObject
from kvmbpf.libbpf.program import BpfProgram
from kvmbpf.libbpf.ringbuf import RingBuffer
from kvmbpf.libbpf.struct_ops import StructOps
from kvmbpf.libbpf.values import Given, Value, plain

__all__ = [
    "BpfLink",
    "BpfMap",
    "BpfObject",
    "BpfProgram",
    "Carried",
    "Given",
    "LinkInfo",
    "RingBuffer",
    "StateComparison",
    "StructOps",
    "Value",
    "carry_over",
    "compare_state",
    "is_header_log",
    "plain",
    "state_name",
]
