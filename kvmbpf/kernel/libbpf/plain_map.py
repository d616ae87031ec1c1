# SPDX-License-Identifier: GPL-2.0-or-later
"""A map by its descriptor: what it is, and its elements as bytes.

`PlainMap` is what the views of a map's content (`elements`, `globals`) are made of;
`kvmbpf.kernel.libbpf.map` puts them together.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import mmap
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from kvmbpf.closing import Closing
from kvmbpf.errors import StateError
from kvmbpf.kernel.fd import OwnedFd
from kvmbpf.kernel.libbpf import pinning
from kvmbpf.kernel.libbpf.btf import Btf, BtfVariable, KernelTypes
from kvmbpf.kernel.libbpf.lib import call_failed, libbpf
from kvmbpf.kernel.libbpf.map_info import map_info
from kvmbpf.kernel.libbpf.section_memory import map_section, refuse_copy_back
from kvmbpf.kernel.uapi import bpf as uapi

_PER_CPU = frozenset(
    {
        uapi.BPF_MAP_TYPE_PERCPU_HASH,
        uapi.BPF_MAP_TYPE_PERCPU_ARRAY,
        uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH,
        uapi.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE,
    }
)


class MapSpec(NamedTuple):
    """What makes a map: C ``__u32`` each, sizes in bytes.

    :param type: ``BPF_MAP_TYPE_*``.
    :param flags: ``BPF_F_*``.
    :param key_type_id: the key's type in the map's BTF; 0 where there is none.
    :param value_type_id: the value's, likewise.
    """

    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    key_type_id: int
    value_type_id: int


class PlainMap(Closing):
    """A map in the kernel, by descriptor.

    :param fd: its descriptor; this object owns it from now on.
    :param types: where to have its types from, shared with other maps; None for a
        set of its own.
    :raise KernelCallError: when it is no map.
    """

    def __init__(self, fd: OwnedFd, types: KernelTypes | None = None) -> None:
        info = map_info(fd.fileno())
        self._owned: OwnedFd | None = fd
        self._btf_id = int(info.btf_id)
        self._types = types if types is not None else KernelTypes()
        self._shares_types = types is not None
        # by whether it is written; None where it cannot be mapped
        self._memories: dict[bool, mmap.mmap | None] = {}
        self.name = bytes(info.name).decode(errors="replace")
        self.spec = MapSpec(
            info.type,
            info.key_size,
            info.value_size,
            info.max_entries,
            info.map_flags,
            info.btf_key_type_id,
            info.btf_value_type_id,
        )

    # what it is

    @property
    def fd(self) -> int:
        """The descriptor (C ``int``), still owned by this object.

        :raise StateError: when the map is closed.
        """
        if self._owned is None:
            raise StateError(f"map {self.name} is closed")
        return self._owned.fileno()

    @property
    def id(self) -> int:
        """The kernel's id of the map (C ``__u32``)."""
        return int(map_info(self.fd).id)

    @property
    def type(self) -> int:
        """``BPF_MAP_TYPE_*``."""
        return self.spec.type

    @property
    def key_size(self) -> int:
        """Bytes of a key."""
        return self.spec.key_size

    @property
    def value_size(self) -> int:
        """Bytes of a value."""
        return self.spec.value_size

    @property
    def btf(self) -> Btf | None:
        """The types of key and value, or None where the map has none.

        :raise KernelCallError: when the kernel does not give them out.
        """
        return self._types.get(self._btf_id) if self._btf_id else None

    @functools.cached_property
    def section(self) -> str | None:
        """The data section that the map holds, as ``.bss``; None for other maps."""
        if not self.spec.value_type_id or self.btf is None:
            return None
        value = self.btf.get(self.spec.value_type_id)
        return value.name if value.kind == uapi.BTF_KIND_DATASEC else None

    # what it holds

    def lookup(self, key: bytes) -> bytes | None:
        """Return a key's value, or None where the map has none.

        A per-CPU map gives each possible CPU's value in turn, each padded to 8 bytes.

        :raise StateError: when the key has the wrong size, or the map is closed.
        :raise KernelCallError: when the kernel refuses.
        """
        self._check_size("key", key, self.spec.key_size)
        buffer = ctypes.create_string_buffer(self.transfer_size())
        result: int = libbpf().bpf_map_lookup_elem(self.fd, key, buffer)
        if result == -errno.ENOENT:
            return None
        if result < 0:
            raise call_failed(f"bpf_map_lookup_elem({self.name})", result)
        return buffer.raw

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        """Set a key's value.

        :param flags: ``BPF_ANY`` (0), ``BPF_NOEXIST`` (1) or ``BPF_EXIST`` (2); C ``__u64``.
        :raise StateError: when key or value have the wrong size, or the map is closed.
        :raise KernelCallError: when the kernel refuses.
        """
        self._check_size("key", key, self.spec.key_size)
        self._check_size("value", value, self.transfer_size())
        result: int = libbpf().bpf_map_update_elem(self.fd, key, value, flags)
        if result < 0:
            raise call_failed(f"bpf_map_update_elem({self.name})", result)

    def delete(self, key: bytes) -> bool:
        """Remove a key.

        :return: whether there was one.
        :raise StateError: when the key has the wrong size, or the map is closed.
        :raise KernelCallError: when the kernel refuses: EINVAL for an array.
        """
        self._check_size("key", key, self.spec.key_size)
        result: int = libbpf().bpf_map_delete_elem(self.fd, key)
        if result < 0 and result != -errno.ENOENT:
            raise call_failed(f"bpf_map_delete_elem({self.name})", result)
        return result == 0

    def raw_keys(self) -> Iterator[bytes]:
        """Give the keys, each once; what is added or removed meanwhile may be missed.

        The kernel starts anew when the key that it is to go on from is gone;
        the walk ends when it took far longer than the map is large.

        :raise StateError: when the map is closed.
        :raise KernelCallError: when the kernel refuses, as for a map without keys.
        """
        seen: set[bytes] = set()
        before: bytes | None = None
        for _ in range(4 * self.spec.max_entries + 4):
            buffer = ctypes.create_string_buffer(self.spec.key_size)
            result: int = libbpf().bpf_map_get_next_key(self.fd, before, buffer)
            if result == -errno.ENOENT:
                return
            if result < 0:
                raise call_failed(f"bpf_map_get_next_key({self.name})", result)
            before = buffer.raw
            if before not in seen:
                seen.add(before)
                yield before

    @property
    def per_cpu(self) -> bool:
        """Tell whether each CPU has a value of its own."""
        return self.spec.type in _PER_CPU

    def transfer_size(self) -> int:
        """Return the bytes of what `lookup` gives: of a per-CPU map all CPUs' values."""
        if self.spec.type == uapi.BPF_MAP_TYPE_STRUCT_OPS:
            return int(map_info(self.fd).value_size)  # an object has its own, shorter struct
        if not self.per_cpu:
            return self.spec.value_size
        cpus: int = libbpf().libbpf_num_possible_cpus()
        if cpus < 0:
            raise call_failed("libbpf_num_possible_cpus()", cpus)
        return (self.spec.value_size + 7) // 8 * 8 * cpus

    def _check_size(self, what: str, data: bytes, size: int) -> None:
        if len(data) != size:
            raise StateError(f"map {self.name}: a {what} is {size} bytes, not {len(data)}")

    @functools.cached_property
    def variables(self) -> tuple[BtfVariable, ...]:
        """What lies where in a data section; empty for other maps."""
        if self.section is None or self.btf is None:
            return ()
        return self.btf.variables(self.spec.value_type_id)

    def memory(self, *, write: bool) -> AbstractContextManager[memoryview]:
        """Give a data section's memory inside a block: a view of the value.

        It is shared with the running programs, where the kernel lets it be mapped.
        Where not, it is a copy, and one that is written goes back whole at the
        block's end: see `kvmbpf.kernel.libbpf.section_memory`.

        :param write: whether it is to be written.
        :raise StateError: when it is written and constant, it is written and can only be
            copied and has something of the kernel's in it, or the map is closed.
        :raise KernelCallError: when the kernel refuses.
        """
        fd = self.fd
        if write and self.spec.flags & uapi.BPF_F_RDONLY_PROG:
            raise StateError(f"map {self.name}: constant since it was loaded")
        if write not in self._memories:
            self._memories[write] = map_section(fd, self.name, self.spec.value_size, write=write)
        mapped = self._memories[write]
        if mapped is not None:
            return memoryview(mapped)
        if write and self.btf is not None:
            refuse_copy_back(self.name, self.btf, self.spec.value_type_id)
        return self._copy(write=write)

    @contextlib.contextmanager
    def _copy(self, *, write: bool) -> Iterator[memoryview]:
        key = bytes(self.spec.key_size)
        content = bytearray(self.lookup(key) or b"")
        with memoryview(content) as view:
            yield view if write else view.toreadonly()
        if write:
            self.update(key, bytes(content))

    # names

    def pin(self, path: str | Path) -> None:
        """Give the map a name in bpffs, which keeps it alive.

        :raise StateError: when the name is taken, or the map is closed.
        :raise KernelCallError: when the kernel refuses.
        """
        pinning.pin(self.fd, Path(path))

    # end

    def _release(self) -> None:
        """Let go of memory and types."""
        while self._memories:
            memory = self._memories.popitem()[1]
            if memory is not None:
                memory.close()
        if not self._shares_types:
            self._types.close()

    def close(self) -> None:
        """Close the descriptor; closing twice is fine."""
        self._release()
        owned, self._owned = self._owned, None
        if owned is not None:
            owned.close()

    def __repr__(self) -> str:
        return f"<{self.__class__.__name__} {self.name}>"
