# SPDX-License-Identifier: GPL-2.0-or-later
"""The memory of a data section, where it can be mapped, and what a copy does otherwise.

libbpf makes a section mappable only when one of its variables is not static, and the
kernel maps none that has something of its own in it, as a lock. Such a map is read
by a lookup of its one element, which copies the section, and written by an update of it.

In mapped memory each integer is of one moment. The kernel copies an element as memory, and no
lock is held: an integer in a copy may be half of what a program wrote meanwhile, though
an aligned one is not seen so on x86-64 and arm64. An update puts the whole
section back: what programs wrote to other variables between the two is lost. And it ends
timers and drops references that are in there: so a section with something of the
kernel's is not written at all.

Source: map_is_mmapable() in libbpf 1.4; bpf_map_mmap() in kernel/bpf/syscall.c and
array_map_update_elem() in kernel/bpf/arraymap.c, v6.12.
"""

from __future__ import annotations

import mmap

from kvmbpf.errors import StateError
from kvmbpf.kernel.libbpf.btf import Btf
from kvmbpf.kernel.libbpf.lib import call_failed
from kvmbpf.kernel.libbpf.map_info import map_info
from kvmbpf.kernel.libbpf.values import KERNEL_OWNED
from kvmbpf.kernel.uapi import bpf as uapi

_ENOTSUPP = 524  # the kernel's own: what it says of a map with something of its own in it
_REFERENCES = frozenset({"kptr", "kptr_ref", "kptr_untrusted", "percpu_kptr", "uptr"})
_DEEPEST = 32
_RECORDS = (uapi.BTF_KIND_STRUCT, uapi.BTF_KIND_UNION)


def map_section(fd: int, name: str, size: int, *, write: bool) -> mmap.mmap | None:
    """Map the element of a data section's map; None where the kernel does not map it.

    :param fd: the map's (C ``int``), still the caller's.
    :param name: the map's, for errors.
    :param size: of its element, in bytes.
    :param write: whether the memory is to be written.
    :return: the memory; the caller closes it.
    :raise KernelCallError: when the kernel refuses, as to write a map that is frozen.
    """
    if not map_info(fd).map_flags & uapi.BPF_F_MMAPABLE:
        return None
    prot = mmap.PROT_READ | (mmap.PROT_WRITE if write else 0)
    try:
        return mmap.mmap(fd, size, mmap.MAP_SHARED, prot)
    except OSError as error:
        if error.errno == _ENOTSUPP:
            return None
        raise call_failed(f"mmap({name})", -(error.errno or 0)) from error


def refuse_copy_back(name: str, btf: Btf, section_id: int) -> None:
    """Refuse to write a section whole that has something of the kernel's in it.

    :param name: the map's.
    :param section_id: the ``BTF_KIND_DATASEC`` in `btf` (C ``__u32``).
    :raise StateError: when it has; the variable is named.
    """
    for variable in btf.variables(section_id):
        if _kernels(btf, variable.type_id, 0):
            raise StateError(
                f"map {name} cannot be written: `{variable.name}` has a lock, timer or reference "
                "in it, which is the kernel's; keep it in a section of its own, as "
                'SEC(".data.kernels")'
            )


def _kernels(btf: Btf, type_id: int, depth: int) -> bool:
    """Tell whether a type has something in it that is the kernel's."""
    found = btf.get(btf.resolve(type_id))
    if depth > _DEEPEST:
        return False
    if found.kind == uapi.BTF_KIND_PTR:
        target = btf.get(found.type_id)
        return target.kind == uapi.BTF_KIND_TYPE_TAG and target.name in _REFERENCES
    if found.kind == uapi.BTF_KIND_ARRAY:
        return _kernels(btf, found.type_id, depth + 1)
    if found.kind not in _RECORDS:
        return False
    return found.name in KERNEL_OWNED or any(
        _kernels(btf, member.type_id, depth + 1) for member in found.members
    )
