# SPDX-License-Identifier: GPL-2.0-or-later
"""BTF: the types of an object, of a loaded map, of the kernel.

`Btf` reads one set of types through libbpf. Types are named by their number
(``type_id``), as in the format; `BtfType` is one of them, decoded. Only what
is asked for is decoded: the kernel has a hundred thousand.

Source: Documentation/bpf/btf.rst and include/uapi/linux/btf.h, v6.12.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

from kvmbpf.closing import Closing
from kvmbpf.errors import BadFileError, StateError
from kvmbpf.kernel.fd import OwnedFd
from kvmbpf.kernel.libbpf.btf_words import ENTRY_WORDS, TypeWords, type_words
from kvmbpf.kernel.libbpf.lib import call_failed, libbpf
from kvmbpf.kernel.uapi import bpf as uapi

_TRANSPARENT = frozenset(
    {
        uapi.BTF_KIND_TYPEDEF,
        uapi.BTF_KIND_VOLATILE,
        uapi.BTF_KIND_CONST,
        uapi.BTF_KIND_RESTRICT,
        uapi.BTF_KIND_TYPE_TAG,
    }
)
_LONGEST_CHAIN = 64  # the kernel allows 32
_SYS_BTF = Path("/sys/kernel/btf")


class BtfMember(NamedTuple):
    """A member of a struct or union.

    :param bit_offset: from the start of the struct, in bits.
    :param bit_size: of a bit field, in bits; 0 for a plain member.
    """

    name: str
    type_id: int
    bit_offset: int
    bit_size: int


class BtfVariable(NamedTuple):
    """A variable of a data section; offset and size in bytes."""

    name: str
    type_id: int
    offset: int
    size: int


class BtfType(NamedTuple):
    """One type, decoded.

    :param kind: ``BTF_KIND_*``.
    :param size: of an int, enum, float, struct, union or data section, in bytes; else 0.
    :param type_id: the type that a pointer, modifier, typedef, array or
        variable refers to; else 0.
    :param length: the elements of an array.
    :param encoding: ``BTF_INT_*`` of an int; bit 0 (signed) also for an enum.
    :param entries: the raw words of each entry of an enum, function type or data section.
    """

    kind: int
    name: str
    size: int
    type_id: int
    length: int
    encoding: int
    members: tuple[BtfMember, ...]
    entries: tuple[tuple[int, ...], ...]


class Btf(Closing):
    """A set of types.

    :param handle: gives the ``struct btf *``; called on each use, so that it
        can refuse when the owner of a borrowed one is closed.
    :param base: what this set extends (a module's extends vmlinux); kept alive.
    :param owned: free it on close.
    """

    def __init__(
        self, handle: Callable[[], int], *, base: Btf | None = None, owned: bool = False
    ) -> None:
        self._handle: Callable[[], int] | None = handle
        self.base = base
        self._owned = owned
        self._words: TypeWords | None = None
        self._decoded: dict[int, BtfType] = {}
        self._variables: dict[int, tuple[BtfVariable, ...]] = {}

    @classmethod
    def adopt(cls, handle: int, base: Btf | None = None) -> Self:
        """Own a ``struct btf *`` from now on.

        :param base: what it extends, or None.
        """
        return cls(lambda: handle, base=base, owned=True)

    @classmethod
    def from_kernel_id(cls, btf_id: int) -> Btf:
        """Return the BTF that the kernel has under an id.

        :param btf_id: as in ``bpf_map_info.btf_id`` (C ``__u32``).
        :raise KernelCallError: when there is none, or CAP_SYS_ADMIN is missing.
        """
        name = _kernel_btf_name(btf_id)
        if name == "vmlinux":
            return vmlinux_btf()
        lib = libbpf()
        base = vmlinux_btf() if name else None  # only modules' BTF has a name
        if base is None:
            handle = lib.btf__load_from_kernel_by_id(btf_id)
        else:
            handle = lib.btf__load_from_kernel_by_id_split(btf_id, base.handle)
        if not handle:
            raise call_failed(f"btf__load_from_kernel_by_id({btf_id})", None)
        return cls.adopt(handle, base)

    @property
    def handle(self) -> int:
        """The ``struct btf *``, still owned by its owner.

        :raise StateError: when it, or the object it came from, was closed.
        """
        if self._handle is None:
            raise StateError("BTF is closed")
        return self._handle()

    def close(self) -> None:
        """Free the types if they are owned, else do nothing; closing twice is fine."""
        if self._handle is not None and self._owned:
            handle, self._handle = self._handle(), None
            libbpf().btf__free(handle)

    def __len__(self) -> int:
        """Return the number of types, void and the base's included."""
        return int(libbpf().btf__type_cnt(self.handle))

    def find(self, name: str, kind: int) -> int | None:
        """Return the id (C ``__s32``) of a named type, or None.

        :param kind: ``BTF_KIND_*``.
        """
        found: int = libbpf().btf__find_by_name_kind(self.handle, name.encode(), kind)
        return found if found > 0 else None

    def get(self, type_id: int) -> BtfType:
        """Decode one type.

        :param type_id: its number (C ``__u32``); 0 is void.
        :raise BadFileError: when there is no such type.
        """
        handle = self.handle  # refuses when it is closed
        found = self._decoded.get(type_id)
        if found is None:
            found = self._decoded[type_id] = _decode(self._source(handle), type_id)
        return found

    def _source(self, handle: int) -> TypeWords:
        if self._words is None:
            self._words = type_words(handle)
        return self._words

    def resolve(self, type_id: int) -> int:
        """Return the id behind typedefs, const, volatile, restrict and tags.

        :raise BadFileError: when a chain of them does not end.
        """
        found = self.get(type_id)
        for _ in range(_LONGEST_CHAIN):
            if found.kind not in _TRANSPARENT:
                return type_id
            type_id = found.type_id
            found = self._decoded.get(type_id) or self.get(type_id)
        raise BadFileError("BTF", f"type {type_id} is a chain of more than {_LONGEST_CHAIN} types")

    def size_of(self, type_id: int) -> int:
        """Return a type's size in bytes.

        :raise BadFileError: when the type has none.
        """
        size: int = libbpf().btf__resolve_size(self.handle, type_id)
        if size < 0:
            raise BadFileError("BTF", f"type {type_id} has no size")
        return size

    def variables(self, section_id: int) -> tuple[BtfVariable, ...]:
        """Return the variables of a data section, in order of their offsets."""
        entries = self.get(section_id).entries
        found = self._variables.get(section_id)
        if found is None:
            source = self._source(self.handle)
            types = [source.words(type_id) for type_id, _, _ in entries]
            found = self._variables[section_id] = tuple(
                BtfVariable(source.string(name_off), target, offset, size)
                for (name_off, _, target, *_), (_, offset, size) in zip(types, entries, strict=True)
            )
        return found

    def enumerators(self, type_id: int) -> dict[str, int]:
        """Return the names and values of an enum."""
        values: dict[str, int] = {}
        kind = self.get(type_id)
        source = self._source(self.handle)
        for name_off, low, *high in kind.entries:
            value = low | (high[0] << 32 if high else 0)
            bits = 64 if high else 32
            if kind.encoding & uapi.BTF_INT_SIGNED and value >> (bits - 1):
                value -= 1 << bits
            values[source.string(name_off)] = value
        return values


_RECORDS = (uapi.BTF_KIND_STRUCT, uapi.BTF_KIND_UNION)
_ENUMS = (uapi.BTF_KIND_ENUM, uapi.BTF_KIND_ENUM64)
_SIZED = frozenset(
    {
        uapi.BTF_KIND_INT,
        uapi.BTF_KIND_STRUCT,
        uapi.BTF_KIND_UNION,
        uapi.BTF_KIND_ENUM,
        uapi.BTF_KIND_ENUM64,
        uapi.BTF_KIND_DATASEC,
        uapi.BTF_KIND_FLOAT,
    }
)


def _decode(source: TypeWords, type_id: int) -> BtfType:
    name_off, info, size_or_target, *words = source.words(type_id)
    name = source.string(name_off)
    kind, flag = info >> 24 & 0x1F, info >> 31
    size, target = (size_or_target, 0) if kind in _SIZED else (0, size_or_target)
    length = encoding = 0
    members: tuple[BtfMember, ...] = ()
    entries: tuple[tuple[int, ...], ...] = ()
    if kind in _RECORDS:
        members = _members(source, words, fields=bool(flag))
    elif kind in ENTRY_WORDS:
        step = ENTRY_WORDS[kind]
        entries = tuple(zip(*(words[part::step] for part in range(step)), strict=True))
        encoding = flag if kind in _ENUMS else 0
    elif kind == uapi.BTF_KIND_INT:
        encoding = words[0] >> 24 & 0xF
    elif kind == uapi.BTF_KIND_ARRAY:
        target, length = words[0], words[2]
    return BtfType(kind, name, size, target, length, encoding, members, entries)


def _members(source: TypeWords, words: list[int], *, fields: bool) -> tuple[BtfMember, ...]:
    """Return the members of a struct or union.

    :param fields: whether some are bit fields; offsets have the sizes in them then.
    """
    last, bits = (0xFFFFFF, 24) if fields else (0xFFFFFFFF, 32)
    return tuple(
        BtfMember(source.string(name_off), type_id, offset & last, offset >> bits)
        for name_off, type_id, offset in zip(words[::3], words[1::3], words[2::3], strict=True)
    )


class KernelTypes(Closing):
    """Sets of types that the kernel has, each fetched once: the maps of an object share one."""

    def __init__(self) -> None:
        self._sets: dict[int, Btf] = {}

    def get(self, btf_id: int) -> Btf:
        """Return a set by its id; it is closed with this object.

        :param btf_id: as in ``bpf_map_info.btf_id`` (C ``__u32``).
        :raise KernelCallError: when there is none, or CAP_SYS_ADMIN is missing.
        """
        if btf_id not in self._sets:
            self._sets[btf_id] = Btf.from_kernel_id(btf_id)
        return self._sets[btf_id]

    def close(self) -> None:
        """Free the types; closing twice is fine."""
        while self._sets:
            self._sets.popitem()[1].close()


def _kernel_btf_name(btf_id: int) -> str:
    """Return ``vmlinux``, a module's name, or "" for what a program brought."""
    fd: int = libbpf().bpf_btf_get_fd_by_id(btf_id)
    if fd < 0:
        hint = "reading loaded types needs CAP_SYS_ADMIN" if fd == -errno.EPERM else ""
        raise call_failed(f"bpf_btf_get_fd_by_id({btf_id})", fd, hint)
    with OwnedFd(fd, f"BTF {btf_id}") as owned:
        name = ctypes.create_string_buffer(64)
        info = uapi.bpf_btf_info(name=ctypes.addressof(name), name_len=len(name))
        length = ctypes.c_uint32(ctypes.sizeof(info))
        result: int = libbpf().bpf_obj_get_info_by_fd(
            owned.fileno(), ctypes.byref(info), ctypes.byref(length)
        )
        if result < 0:
            raise call_failed(f"bpf_obj_get_info_by_fd({btf_id})", result)
        return name.value.decode(errors="replace") if info.kernel_btf else ""


@functools.cache
def vmlinux_btf() -> Btf:
    """Return the running kernel's own types; loaded once, kept for good.

    :raise KernelCallError: when the kernel does not show them (no
        CONFIG_DEBUG_INFO_BTF).
    """
    handle: int | None = libbpf().btf__load_vmlinux_btf()
    if not handle:
        hint = "the kernel needs CONFIG_DEBUG_INFO_BTF=y"
        raise call_failed("btf__load_vmlinux_btf()", None, hint)
    return Btf(lambda: handle)


def kernel_struct_home(name: str, folder: Path = _SYS_BTF) -> str | None:
    """Return what has a struct: ``vmlinux``, a loaded module's name, or None.

    :param name: the struct's, as ``kvm_bpf_ops``.
    :param folder: where the kernel shows its types, one file a module.
    :raise KernelCallError: when the kernel does not show its types.
    """
    vmlinux = vmlinux_btf()
    if vmlinux.find(name, uapi.BTF_KIND_STRUCT) is not None:
        return "vmlinux"
    for module in module_names(folder):
        with suppress(BadFileError), module_btf(module, folder) as btf:  # it may be unloaded by now
            if btf.find(name, uapi.BTF_KIND_STRUCT) is not None:
                return module
    return None


def module_names(folder: Path = _SYS_BTF) -> list[str]:
    """Return the names of the loaded modules that show their types."""
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.name != "vmlinux")


def module_btf(module: str, folder: Path = _SYS_BTF) -> Btf:
    """Return a module's types, which go on from vmlinux's; close it after use.

    :param module: its name, as ``kvm``.
    :raise BadFileError: when the kernel does not show them.
    """
    path, vmlinux = folder / module, vmlinux_btf()
    handle: int | None = libbpf().btf__parse_split(os.fsencode(path), vmlinux.handle)
    if not handle:
        raise BadFileError(path, "no types of a loaded module")
    return Btf.adopt(handle, vmlinux)
