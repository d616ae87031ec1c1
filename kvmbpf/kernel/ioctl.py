# SPDX-License-Identifier: GPL-2.0-or-later
"""ioctl() with its argument's size checked against the ioctl's number.

The number of an ioctl carries the size of its structure. Passing another
structure would let the kernel write past its end, so it is refused here.
"""

from __future__ import annotations

import ctypes
import fcntl

from kvmbpf.errors import KernelCallError
from kvmbpf.kernel.fd import OwnedFd


def _declared_size(request: int) -> int:
    """Return the size in bytes that an ioctl's number declares."""
    return request >> 16 & 0x3FFF


def ioctl_struct(
    fd: OwnedFd, request: int, argument: ctypes.Structure, call: str, hint: str = ""
) -> int:
    """Issue an ioctl that takes a structure; the kernel may write to it.

    :param fd: the descriptor.
    :param request: the ioctl's number (C ``unsigned long``).
    :param argument: the structure, whose size the number must declare.
    :param call: the call as an error names it.
    :param hint: what to do if it fails.
    :return: the call's result (C ``int``, not negative).
    :raise KernelCallError: when the call fails.
    """
    if _declared_size(request) != ctypes.sizeof(argument):
        raise TypeError(
            f"{call}: a structure of {ctypes.sizeof(argument)} bytes, not {_declared_size(request)}"
        )
    try:
        return int(fcntl.ioctl(fd.fileno(), request, argument, True))
    except OSError as error:
        raise KernelCallError(call, error.errno or 0, hint) from error


def ioctl_value(fd: OwnedFd, request: int, value: int, call: str, hint: str = "") -> int:
    """Issue an ioctl that takes a number.

    :param value: the argument (C ``unsigned long``).
    :return: the call's result (C ``int``, not negative).
    :raise KernelCallError: when the call fails.
    """
    if _declared_size(request):
        raise TypeError(f"{call}: takes a structure of {_declared_size(request)} bytes")
    try:
        return fcntl.ioctl(fd.fileno(), request, value)
    except OSError as error:
        raise KernelCallError(call, error.errno or 0, hint) from error
