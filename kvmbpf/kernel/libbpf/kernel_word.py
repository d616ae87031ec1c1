# SPDX-License-Identifier: GPL-2.0-or-later
"""A word of the kernel's own memory, found from one of this process's descriptors.

Problem: KVM tells some facts of a VM to nobody, or to the process alone that made it.
Approach: a program of a few instructions goes from this process's task to its table of
descriptors, to the descriptor's file, to what that stands for, and returns one word of it. It
is loaded, run once and closed; it writes nothing. The places of the members are
from the running kernel's BTF, so none is assumed.
Obsolete when: the kernel tells such facts by an interface.

It takes CAP_BPF and CAP_PERFMON, and a kernel with CONFIG_BPF_EVENTS that is not locked
down for confidentiality.

Source: include/linux/{sched,fdtable,fs}.h, include/uapi/linux/bpf.h, v6.12.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Sequence
from typing import NamedTuple

from kvmbpf.errors import KernelCallError, UnsupportedError
from kvmbpf.kernel.fd import OwnedFd
from kvmbpf.kernel.libbpf.btf import Btf
from kvmbpf.kernel.libbpf.lib import call_failed, libbpf
from kvmbpf.kernel.libbpf.protos import bpf_prog_load_opts, bpf_test_run_opts
from kvmbpf.kernel.uapi import bpf as uapi

_INSN = struct.Struct("<BBhi")  # struct bpf_insn: code, registers, off, imm
_STACK = -8  # where a word is read to
_FAILED = 0xFFFFFFFF
_POINTER_BYTES = 8
_WORD_BYTES = 4

# From a task to the array of its files, and from a file to what it stands for.
_TO_FILES = (("task_struct", "files"), ("files_struct", "fdt"), ("fdtable", "fd"))
_TO_OBJECT = ("file", "private_data")


class Member(NamedTuple):
    """A member of a struct, perhaps of one inside of it.

    :param offset: from the start of the outer struct, in bytes.
    :param type_id: its type in the BTF.
    """

    offset: int
    type_id: int


def find_member(btf: Btf, name: str, path: str) -> Member:
    """Return where a member of a struct is.

    :param name: the struct's, as ``kvm``.
    :param path: as ``arch.irqchip_mode``.
    :raise UnsupportedError: when the types have no such struct or member.
    """
    found = Member(0, btf.find(name, uapi.BTF_KIND_STRUCT) or 0)
    for part in path.split("."):
        inner = _member(btf, found.type_id, part)
        if inner is None:
            raise UnsupportedError(
                f"{name}.{path}",
                found="a kernel whose types (BTF) have none",
                needed="one that has it",
                mend="use a kernel with CONFIG_DEBUG_INFO_BTF=y",
            )
        found = Member(found.offset + inner.offset, btf.resolve(inner.type_id))
    return found


def _member(btf: Btf, type_id: int, name: str) -> Member | None:
    """Return a member of a struct, or of an unnamed one in it."""
    for member in btf.get(type_id).members:
        offset = member.bit_offset // 8
        if member.name == name:
            return Member(offset, member.type_id)
        if not member.name:
            inner = _member(btf, btf.resolve(member.type_id), name)
            if inner is not None:
                return Member(offset + inner.offset, inner.type_id)
    return None


def read_kernel_word(fd: OwnedFd, btf: Btf, steps: Sequence[tuple[str, str]]) -> int:
    """Read a word of what a descriptor stands for.

    :param fd: the descriptor, of this process.
    :param btf: the kernel's types.
    :param steps: struct and member of each, from the one that the file's private_data
        points to; each but the last is a pointer to the next.
    :return: the last member, a C ``__u32``.
    :raise UnsupportedError: when the kernel's types lack one of them.
    :raise KernelCallError: EPERM without the capabilities, EINVAL or EACCES where the
        kernel does not let programs read its memory, EFAULT when it cannot be read.
    """
    offsets = [find_member(btf, *step).offset for step in _TO_FILES]
    offsets.append(fd.fileno() * _POINTER_BYTES)
    offsets += [find_member(btf, *step).offset for step in (_TO_OBJECT, *steps)]
    with OwnedFd(_load(program(offsets)), "program that reads a word") as loaded:
        opts = bpf_test_run_opts(sz=ctypes.sizeof(bpf_test_run_opts))
        result: int = libbpf().bpf_prog_test_run_opts(loaded.fileno(), ctypes.byref(opts))
    call = f"BPF_PROG_TEST_RUN(read {'.'.join(steps[-1])})"
    if result < 0:
        raise call_failed(call, result)
    if opts.retval == _FAILED:
        raise KernelCallError(call, errno.EFAULT)
    return int(opts.retval)


def program(offsets: Sequence[int]) -> bytes:
    """Return the program that follows pointers at these offsets from the current task.

    :param offsets: in bytes; at the last one is the word, at the others are pointers.
    :return: its instructions (``struct bpf_insn``).
    """
    code = [_insn(0x85, imm=uapi.BPF_FUNC_get_current_task), _insn(0xBF, dst=3, src=0)]
    end = len(code) + 7 * len(offsets)
    for index, offset in enumerate(offsets):
        size = _WORD_BYTES if index == len(offsets) - 1 else _POINTER_BYTES
        code += [
            _insn(0x07, dst=3, imm=offset),  # r3 += offset
            _insn(0xBF, dst=1, src=10),  # r1 = r10
            _insn(0x07, dst=1, imm=_STACK),  # r1 += _STACK
            _insn(0xB7, dst=2, imm=size),  # r2 = size
            _insn(0x85, imm=uapi.BPF_FUNC_probe_read_kernel),
        ]
        # if (r0) goto failed; r3 = what was read
        code.append(_insn(0x55, dst=0, off=end + 2 - len(code) - 1))
        code.append(_insn(0x61 if size == _WORD_BYTES else 0x79, dst=3, src=10, off=_STACK))
    code += [_insn(0xBF, dst=0, src=3), _insn(0x95)]  # return r3
    code += [_insn(0xB7, dst=0, imm=-1), _insn(0x95)]  # failed: return -1
    return b"".join(code)


def _insn(code: int, *, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    return _INSN.pack(code, src << 4 | dst, off, imm)


def _load(code: bytes) -> int:
    """Load a program; return its descriptor (C ``int``), the caller's."""
    # Programs of this type may sleep, and have to say so.
    opts = bpf_prog_load_opts(sz=ctypes.sizeof(bpf_prog_load_opts), prog_flags=uapi.BPF_F_SLEEPABLE)
    fd: int = libbpf().bpf_prog_load(
        uapi.BPF_PROG_TYPE_SYSCALL,
        None,
        b"GPL",
        code,
        len(code) // _INSN.size,
        ctypes.byref(opts),
    )
    if fd < 0:
        raise call_failed("BPF_PROG_LOAD(read a word)", fd)
    return fd
