# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel says of a map."""

from __future__ import annotations

import ctypes

from kvmbpf.kernel.libbpf.lib import call_failed, libbpf
from kvmbpf.kernel.uapi import bpf as uapi


def map_info(fd: int) -> uapi.bpf_map_info:
    """Ask the kernel about a map.

    :param fd: its descriptor (C ``int``), still the caller's.
    :raise KernelCallError: when it is no map.
    """
    info = uapi.bpf_map_info()
    length = ctypes.c_uint32(ctypes.sizeof(info))
    result: int = libbpf().bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(length))
    if result < 0:
        raise call_failed(f"bpf_obj_get_info_by_fd({fd})", result)
    return info
