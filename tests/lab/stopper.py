# SPDX-License-Identifier: GPL-2.0-or-later
"""End a process at any one of its system calls, by seccomp and ptrace.

A process leaves something behind only by a system call that changes what is
outside of it. So to kill it before each of these in turn, and once after the last,
is to kill it in every state that others can see: between two of them nothing that
lasts has changed. Calls that only read, or change but its own memory, are not
counted; nor is close(), which the kernel does for it when it dies.

A seccomp filter has the process stop at those calls only, before they are made.

Source: ptrace(2), PTRACE_O_TRACESECCOMP and PTRACE_GET_SYSCALL_INFO; seccomp(2).
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from collections.abc import Callable
from dataclasses import dataclass

_PTRACE_TRACEME = 0
_PTRACE_CONT = 7
_PTRACE_SETOPTIONS = 0x4200
_PTRACE_GET_SYSCALL_INFO = 0x420E
_O_TRACESECCOMP, _O_EXITKILL = 1 << 7, 1 << 20
_EVENT_SECCOMP = 7
_O_CREAT = 0o100

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_RET_TRACE, _RET_ALLOW = 0x7FF00000, 0x7FFF0000
# classic BPF: load a word of struct seccomp_data; jump if equal; return
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06

# x86-64: what changes something outside of the process
CALLS = {
    1: "write",
    16: "ioctl",
    18: "pwrite64",
    73: "flock",
    77: "ftruncate",
    82: "rename",
    83: "mkdir",
    84: "rmdir",
    87: "unlink",
    257: "openat",  # with O_CREAT
    258: "mkdirat",
    263: "unlinkat",
    264: "renameat",
    316: "renameat2",
    321: "bpf",
    438: "pidfd_getfd",
}


class _SyscallInfo(ctypes.Structure):
    """``struct ptrace_syscall_info``, with the union's arm for an entry."""

    _fields_ = (
        ("op", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("instruction_pointer", ctypes.c_uint64),
        ("stack_pointer", ctypes.c_uint64),
        ("nr", ctypes.c_uint64),
        ("args", ctypes.c_uint64 * 6),
    )


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    :param done: it ended by itself, before the call that it was to be killed at.
    :param calls: the names of the calls that it made, or was about to.
    """

    done: bool
    calls: tuple[str, ...]


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_char_p)


def _ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> None:
    if _libc.ptrace(request, pid, address, data) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace({request:#x})")


def _stop_at_calls() -> None:
    """Have this process stop at each call of `CALLS`, for who traces it."""
    last = len(CALLS)
    lines = [(_LOAD, 0, 0, 0)]
    lines += [(_JUMP_EQUAL, last - index, 0, number) for index, number in enumerate(CALLS)]
    lines += [(_RETURN, 0, 0, _RET_ALLOW), (_RETURN, 0, 0, _RET_TRACE)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in lines))
    program = struct.pack("@HP", len(lines), ctypes.addressof(code))
    if _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program) < 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP)")


def _call_entered(pid: int) -> str | None:
    """Return the name of the call that a stopped process is about to make, if it counts."""
    info = _SyscallInfo()
    _ptrace(_PTRACE_GET_SYSCALL_INFO, pid, ctypes.sizeof(info), ctypes.addressof(info))
    name = CALLS[info.nr]
    return None if name == "openat" and not info.args[2] & _O_CREAT else name


def _start(action: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            _ptrace(_PTRACE_TRACEME, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            _stop_at_calls()
            action()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSTOPPED(status)
    _ptrace(_PTRACE_SETOPTIONS, pid, 0, _O_TRACESECCOMP | _O_EXITKILL)
    return pid


def run_killed_at(action: Callable[[], object], number: int) -> Ended:
    """Run an action in a process, and kill that before a call of `CALLS`.

    :param number: which call it is to be, from 0; past the last one it ends by itself.
    """
    pid = _start(action)
    calls: list[str] = []
    pending = 0
    while True:
        _ptrace(_PTRACE_CONT, pid, 0, pending)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            assert os.WIFEXITED(status), "something else has killed it"
            assert os.WEXITSTATUS(status) == 0, "the action failed"
            return Ended(True, tuple(calls))
        if status >> 16 != _EVENT_SECCOMP:
            pending = os.WSTOPSIG(status)  # a signal of its own: deliver it
            continue
        pending = 0
        name = _call_entered(pid)
        if name is not None:
            calls.append(name)
            if len(calls) > number:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return Ended(False, tuple(calls))
