# SPDX-License-Identifier: GPL-2.0-or-later
"""struct_ops: filling a kernel struct of callbacks and attaching it.

libbpf can do both, but its link cannot be had back from a pin: what it needs to
replace a map (bpf_link__update_map) is in memory of the process that attached.
So the kernel's value is built here, by the kernel's own BTF, and the link made
by the plain system call: the same code serves the first attach and a later
process's update.

    struct bpf_struct_ops_<name> {
            struct bpf_struct_ops_common_value common;   zero
            struct <name> data;                          program fds, plain values
    };

Source: kernel/bpf/bpf_struct_ops.c, bpf_struct_ops_map_update_elem(), v6.12.
"""

from __future__ import annotations

import ctypes
import errno
import sys
from collections.abc import Mapping

from kvmbpf.errors import BadFileError, StateError
from kvmbpf.kernel.fd import OwnedFd
from kvmbpf.kernel.libbpf.btf import Btf, BtfMember, vmlinux_btf
from kvmbpf.kernel.libbpf.lib import Feature, call_failed, libbpf, need
from kvmbpf.kernel.libbpf.link import BpfLink
from kvmbpf.kernel.libbpf.map_info import map_info
from kvmbpf.kernel.libbpf.object import BpfObject
from kvmbpf.kernel.libbpf.program import BpfProgram
from kvmbpf.kernel.uapi import bpf as uapi

_KEY = bytes(4)
_POINTER = ctypes.sizeof(ctypes.c_void_p)
Field = int | bytes


class StructOps:
    """A struct_ops map of an object.

    :param owner: the object.
    :param name: the map's: that of its variable in ``.struct_ops.link``.
    :raise BadFileError: when there is no such map, it is no struct_ops map, or in section
        ``.struct_ops``, which makes no link.
    :raise UnsupportedError: when libbpf is too old for it.
    """

    def __init__(self, owner: BpfObject, name: str) -> None:
        self.object = owner
        self.map = ops = owner.map(name)
        self._prepared = False
        need(Feature.STRUCT_OPS)
        if ops.type != uapi.BPF_MAP_TYPE_STRUCT_OPS:
            raise BadFileError(self.object.path, f"map `{ops.name}` is no struct_ops map")
        if not ops.spec.flags & uapi.BPF_F_LINK:
            raise BadFileError(
                self.object.path,
                f"struct_ops `{ops.name}` makes no link: put it in section .struct_ops.link",
                section=".struct_ops",
            )

    @property
    def prepared(self) -> bool:
        """Tell whether the map can be attached, or put in another's place."""
        return self._prepared

    def prepare(self, programs: Mapping[str, BpfProgram] | None = None, **fields: Field) -> None:
        """Give the kernel the struct: programs, and values of plain members.

        A plain member that is not given keeps the value that the object sets.

        :param programs: member -> program; None takes those that the object sets.
        :param fields: member -> integer, or bytes for an array or struct, as
            in ``device_fd=7``.
        :raise StateError: when it was prepared before, the object is not loaded
            or is closed, or a member does not exist or does not fit.
        :raise UnsupportedError: when libbpf cannot tell what the object sets (1.3).
        :raise KernelCallError: when the kernel refuses.
        """
        if self._prepared:
            raise StateError(f"struct_ops {self.map.name} is prepared already")
        chosen, values = self._set_by_object(programs is None, fields)
        chosen.update(programs or {})
        values.update(fields)
        info = map_info(self.map.fd)
        value_id = info.btf_vmlinux_value_type_id
        btf = vmlinux_btf()
        if value_id >= len(btf):  # a module's types are numbered on from there
            btf = Btf.from_kernel_id(info.btf_vmlinux_id)
        try:
            raw = struct_value(btf, value_id, chosen, values)
        finally:
            if btf is not vmlinux_btf():
                btf.close()
        result: int = libbpf().bpf_map_update_elem(self.map.fd, _KEY, raw, 0)
        if result < 0:
            raise call_failed(f"bpf_map_update_elem({self.map.name})", result)
        self._prepared = True

    def attach(self) -> BpfLink:
        """Attach the struct: its programs are called from now on.

        :return: the link; it detaches when it is closed and not pinned.
        :raise StateError: when it is not prepared, or the object is closed.
        :raise KernelCallError: when the kernel refuses.
        """
        if not self._prepared:
            raise StateError(f"struct_ops {self.map.name} is not prepared")
        fd: int = libbpf().bpf_link_create(self.map.fd, 0, uapi.BPF_STRUCT_OPS, None)
        if fd < 0:
            hint = ""
            if fd == -errno.EPERM:
                hint = "it needs CAP_BPF, and for some types CAP_NET_ADMIN or CAP_SYS_ADMIN"
            raise call_failed(f"BPF_LINK_CREATE({self.map.name})", fd, hint)
        return BpfLink(OwnedFd(fd, f"link of {self.map.name}"))

    def _set_by_object(
        self, with_programs: bool, given: Mapping[str, Field]
    ) -> tuple[dict[str, BpfProgram], dict[str, Field]]:
        """Return what the object itself sets: programs and non-zero plain members.

        libbpf 1.4 and newer show it as the map's initial value, in which a
        callback is its ``struct bpf_program *``.
        """
        btf, members = self._local_members()
        image = self.map.image()
        if image is None:
            plain = [m.name for m in members if not _is_pointer(btf, m) and m.name not in given]
            if with_programs or plain:
                need(Feature.STRUCT_OPS_FIELDS)
            return {}, {}
        handles = {program.handle: program for program in self.object.programs.values()}
        programs: dict[str, BpfProgram] = {}
        values: dict[str, Field] = {}
        with image:
            for member in members:
                start = member.bit_offset // 8
                raw = bytes(image[start : start + btf.size_of(member.type_id)])
                if not _is_pointer(btf, member):
                    if any(raw):
                        values[member.name] = raw
                elif with_programs:
                    found = handles.get(int.from_bytes(raw, sys.byteorder))
                    if found is not None:
                        programs[member.name] = found
        return programs, values

    def _local_members(self) -> tuple[Btf, tuple[BtfMember, ...]]:
        _, type_id = self.object.struct_ops_struct(self.map)
        btf = self.object.btf
        if btf is None:
            raise BadFileError(self.object.path, "no BTF: compile with -g")
        return btf, btf.get(type_id).members


def struct_value(
    btf: Btf, value_id: int, programs: Mapping[str, BpfProgram], values: Mapping[str, Field]
) -> bytes:
    """Return a struct_ops map's value: ``struct bpf_struct_ops_<name>``, filled.

    :param btf: the types of the kernel, or of the module that has it.
    :param value_id: that struct's number in `btf` (C ``__u32``).
    :param programs: member -> loaded program.
    :param values: member -> integer or bytes, for plain members.
    :raise StateError: when a member does not exist or does not fit.
    """
    outer = {member.name: member for member in btf.get(value_id).members}
    data = outer["data"]
    struct = btf.get(btf.resolve(data.type_id))
    members = {member.name: member for member in struct.members}
    raw = bytearray(btf.size_of(value_id))
    for name, program in programs.items():
        member = _member(members, struct.name, name)
        if not _is_pointer(btf, member):
            raise StateError(f"struct {struct.name}: `{name}` is no callback")
        start = (data.bit_offset + member.bit_offset) // 8
        raw[start : start + _POINTER] = program.fd.to_bytes(_POINTER, sys.byteorder)
    for name, value in values.items():
        member = _member(members, struct.name, name)
        if _is_pointer(btf, member) or member.bit_size:
            raise StateError(f"struct {struct.name}: `{name}` is not a plain member")
        start = (data.bit_offset + member.bit_offset) // 8
        size = btf.size_of(member.type_id)
        raw[start : start + size] = _encode(f"struct {struct.name}: `{name}`", size, value)
    return bytes(raw)


def _member(members: Mapping[str, BtfMember], struct: str, name: str) -> BtfMember:
    try:
        return members[name]
    except KeyError:
        names = ", ".join(members)
        raise StateError(
            f"struct {struct} of this kernel has no member `{name}`; it has: {names}"
        ) from None


def _is_pointer(btf: Btf, member: BtfMember) -> bool:
    return btf.get(btf.resolve(member.type_id)).kind == uapi.BTF_KIND_PTR


def _encode(where: str, size: int, value: Field) -> bytes:
    """Return a plain member's bytes; shorter bytes are padded with zeros."""
    if isinstance(value, bytes):
        if len(value) > size:
            raise StateError(f"{where} takes {size} bytes, not {len(value)}")
        return value.ljust(size, b"\0")
    try:
        return value.to_bytes(size, sys.byteorder, signed=value < 0)
    except OverflowError:
        raise StateError(f"{where} is {8 * size} bits: {value} does not fit") from None
