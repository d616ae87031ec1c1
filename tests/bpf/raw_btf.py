# SPDX-License-Identifier: GPL-2.0-or-later
"""BTF made by hand, where no compiler or kernel of this machine makes it.

A module's types go on from vmlinux's: their numbers after its last type, the
offsets of their names after its last string.
"""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass, field
from pathlib import Path

from kvmbpf.kernel.libbpf.btf import Btf, vmlinux_btf
from kvmbpf.kernel.libbpf.lib import libbpf
from kvmbpf.kernel.uapi import bpf as uapi

_HEADER = struct.Struct("=HBBIIIII")
_VMLINUX = Path("/sys/kernel/btf/vmlinux")


@dataclass
class RawBtf:
    """Types that are added one by one; each call returns the type's number.

    :param first_type: the number of the first.
    :param first_string: the offset of the first name.
    """

    first_type: int = 1
    first_string: int = 0
    _types: bytes = b""
    _strings: bytearray = field(default_factory=bytearray)
    _count: int = 0

    @classmethod
    def of_module(cls) -> RawBtf:
        with _VMLINUX.open("rb") as file:
            *_, strings = _HEADER.unpack(file.read(_HEADER.size))
        return cls(first_type=len(vmlinux_btf()), first_string=strings)

    def _name(self, name: str) -> int:
        if not self._strings and not self.first_string:
            self._strings += b"\0"
        if not name:
            return 0
        offset = self.first_string + len(self._strings)
        self._strings += name.encode() + b"\0"
        return offset

    def add(
        self,
        kind: int,
        name: str,
        size_or_type: int,
        tail: bytes = b"",
        vlen: int = 0,
        flag: int = 0,
    ) -> int:
        info = flag << 31 | kind << 24 | vlen
        self._types += struct.pack("=III", self._name(name), info, size_or_type) + tail
        self._count += 1
        return self.first_type + self._count - 1

    def struct(self, name: str, size: int, *members: tuple[str, int, int]) -> int:
        """Add a struct; a member is its name, type and offset in bits."""
        tail = b"".join(struct.pack("=III", self._name(n), t, o) for n, t, o in members)
        return self.add(uapi.BTF_KIND_STRUCT, name, size, tail, len(members))

    def enum64(self, name: str, signed: bool, **values: int) -> int:
        tail = b"".join(
            struct.pack("=IQ", self._name(n), value & (1 << 64) - 1) for n, value in values.items()
        )
        return self.add(uapi.BTF_KIND_ENUM64, name, 8, tail, len(values), int(signed))

    def bytes(self) -> bytes:
        self._name("")
        lengths = (0, len(self._types), len(self._types), len(self._strings))
        header = _HEADER.pack(0xEB9F, 1, 0, _HEADER.size, *lengths)
        return header + self._types + bytes(self._strings)

    def open(self) -> Btf:
        """Give it to libbpf; the caller closes what it makes of it."""
        raw = self.bytes()
        new = libbpf().btf__new
        handle: int | None = new(ctypes.create_string_buffer(raw, len(raw)), len(raw))
        assert handle, "libbpf does not take it"
        return Btf.adopt(handle)
