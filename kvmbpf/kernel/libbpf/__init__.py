# SPDX-License-Identifier: GPL-2.0-or-later
"""libbpf through ctypes: objects, maps, struct_ops, links, ring buffers.

Importing it loads nothing: libbpf itself is loaded by the first call.
"""

from kvmbpf.kernel.libbpf.carry import (
    Carried,
    StateComparison,
    carry_over,
    compare_state,
    is_header_log,
    state_name,
)
from kvmbpf.kernel.libbpf.link import BpfLink, LinkInfo
from kvmbpf.kernel.libbpf.map import BpfMap
from kvmbpf.kernel.libbpf.object import BpfObject
from kvmbpf.kernel.libbpf.program import BpfProgram
from kvmbpf.kernel.libbpf.ringbuf import RingBuffer
from kvmbpf.kernel.libbpf.struct_ops import StructOps
from kvmbpf.kernel.libbpf.values import Given, Value, plain

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
