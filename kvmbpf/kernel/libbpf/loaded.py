# SPDX-License-Identifier: GPL-2.0-or-later
"""What is loaded and attached, as the kernel tells it to a process that did neither.

A link leads to its struct_ops map, the map to its programs, and each program
knows its size, its maps, and how often it ran. All of that is found by id.

Source: kernel/bpf/bpf_struct_ops.c (bpf_struct_ops_map_sys_lookup_elem() gives
programs as their ids) and kernel/bpf/syscall.c, v6.12.
"""

from __future__ import annotations

import ctypes
import errno
import sys
from dataclasses import dataclass
from typing import Self

from kvmbpf.kernel.fd import OwnedFd
from kvmbpf.kernel.libbpf.btf import Btf, vmlinux_btf
from kvmbpf.kernel.libbpf.lib import call_failed, libbpf
from kvmbpf.kernel.libbpf.map import BpfMap
from kvmbpf.kernel.libbpf.map_info import map_info
from kvmbpf.kernel.uapi import bpf as uapi

_KEY = bytes(4)
_HINTS = {
    errno.EPERM: "it takes CAP_SYS_ADMIN",
    errno.ENOENT: "it has been unloaded meanwhile",
}


@dataclass(frozen=True)
class ProgramInfo:
    """What the kernel says about a loaded program.

    :param id: the kernel's id (C ``__u32``).
    :param name: as in its source, at most 15 characters.
    :param tag: a hash of its instructions, in hexadecimal.
    :param jited_bytes: size of its machine code; 0 when there is none, or it is
        not shown without CAP_BPF.
    :param instructions: eBPF instructions, after the verifier's rewriting.
    :param loaded_ns: when it was loaded, in ns since the boot (CLOCK_BOOTTIME).
    :param uid: of the user who loaded it.
    :param run_count: how often it ran while run-time statistics were on.
    :param run_ns: how long that took in all, in ns.
    """

    id: int
    name: str
    tag: str
    jited_bytes: int
    instructions: int
    loaded_ns: int
    uid: int
    run_count: int
    run_ns: int


class LoadedProgram(OwnedFd):
    """Own a descriptor of a loaded program, which keeps it loaded."""

    @classmethod
    def open_id(cls, program_id: int) -> Self:
        """Open a program by its id.

        :raise KernelCallError: ENOENT when there is none, EPERM.
        """
        fd: int = libbpf().bpf_prog_get_fd_by_id(program_id)
        if fd < 0:
            raise call_failed(f"bpf_prog_get_fd_by_id({program_id})", fd, _HINTS.get(-fd, ""))
        return cls(fd, f"program {program_id}")

    def info(self) -> ProgramInfo:
        """Ask the kernel about the program.

        :raise KernelCallError: when the kernel refuses.
        """
        info = uapi.bpf_prog_info()
        length = ctypes.c_uint32(ctypes.sizeof(info))
        result: int = libbpf().bpf_obj_get_info_by_fd(
            self.fileno(), ctypes.byref(info), ctypes.byref(length)
        )
        if result < 0:
            raise call_failed(f"bpf_obj_get_info_by_fd({self.name})", result)
        return ProgramInfo(
            id=info.id,
            name=bytes(info.name).decode(errors="replace"),
            tag=bytes(info.tag).hex(),
            jited_bytes=info.jited_prog_len,
            instructions=info.xlated_prog_len // 8,
            loaded_ns=info.load_time,
            uid=info.created_by_uid,
            run_count=info.run_cnt,
            run_ns=info.run_time_ns,
        )


def open_map_id(map_id: int) -> BpfMap:
    """Open a map by its id; the caller owns it.

    :raise KernelCallError: ENOENT when there is none, EPERM.
    """
    fd: int = libbpf().bpf_map_get_fd_by_id(map_id)
    if fd < 0:
        raise call_failed(f"bpf_map_get_fd_by_id({map_id})", fd, _HINTS.get(-fd, ""))
    return BpfMap(OwnedFd(fd, f"map {map_id}"))


def program_ids(ops: BpfMap) -> dict[str, int]:
    """Return the programs of a struct_ops map, by the callback that each one is.

    :param ops: the map, prepared or attached.
    :return: member of the struct -> program id (C ``__u32``); absent ones left out.
    :raise KernelCallError: when the kernel does not give out the map or its types.
    """
    raw = ops.lookup(_KEY) or b""
    info = map_info(ops.fd)
    value_id = info.btf_vmlinux_value_type_id
    btf = vmlinux_btf()
    if value_id >= len(btf):  # a module's types are numbered on from there
        btf = Btf.from_kernel_id(info.btf_vmlinux_id)
    try:
        return _pointers(btf, value_id, raw)
    finally:
        if btf is not vmlinux_btf():
            btf.close()


def _pointers(btf: Btf, value_id: int, raw: bytes) -> dict[str, int]:
    """Return the members that are callbacks and not null: ids, where functions were."""
    data = next(member for member in btf.get(value_id).members if member.name == "data")
    found = {}
    for member in btf.get(btf.resolve(data.type_id)).members:
        kind = btf.get(btf.resolve(member.type_id))
        if kind.kind != uapi.BTF_KIND_PTR:
            continue
        target = btf.get(btf.resolve(kind.type_id))
        start = (data.bit_offset + member.bit_offset) // 8
        value = int.from_bytes(raw[start : start + 8], sys.byteorder)
        if value and target.kind == uapi.BTF_KIND_FUNC_PROTO:
            found[member.name] = value
    return found


def enable_run_statistics() -> OwnedFd:
    """Count and time the runs of all programs of this host, until this is closed.

    :return: what keeps it on; the caller owns it. The kernel turns it off when
        the last such descriptor is gone, however its process ended.
    :raise KernelCallError: EPERM without CAP_SYS_ADMIN.
    """
    fd: int = libbpf().bpf_enable_stats(uapi.BPF_STATS_RUN_TIME)
    if fd < 0:
        raise call_failed("bpf_enable_stats(RUN_TIME)", fd, _HINTS.get(-fd, ""))
    return OwnedFd(fd, "run-time statistics")
