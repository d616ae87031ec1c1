# SPDX-License-Identifier: GPL-2.0-or-later
"""libbpf itself, loaded when it is first used.

`libbpf()` returns the shared library with every prototype of
`kvmbpf.libbpf.protos` set. A library that is missing, too old, or lacks a
function is an `UnsupportedError` that says how to get a newer one.
"""

from __future__ import annotations

import ctypes
import functools
import os

from kvmbpf.errors import KernelCallError, UnsupportedError
from kvmbpf.libbpf.protos import PROTOTYPES

SONAME = "libbpf.so.1"
NEEDED = (1, 3)  # the first whose programs' log buffers and struct_ops links all work
MEND = "Debian 12: apt install -t bookworm-backports libbpf1; Debian 13: apt install libbpf1"


def _unsupported(found: str) -> UnsupportedError:
    needed = f"{NEEDED[0]}.{NEEDED[1]} or newer"
    return UnsupportedError("libbpf", found=found, needed=needed, mend=MEND)


def check_version(major: int, minor: int) -> None:
    """Refuse a libbpf that is older than needed.

    :param major: ``libbpf_major_version()`` (C ``__u32``).
    :param minor: ``libbpf_minor_version()`` (C ``__u32``).
    :raise UnsupportedError: when it is too old.
    """
    if (major, minor) < NEEDED:
        raise _unsupported(f"{major}.{minor}")


def load_library(soname: str) -> ctypes.CDLL:
    """Load a libbpf, check its version, set the prototypes.

    :param soname: what to give to dlopen(3).
    :raise UnsupportedError: when it cannot be loaded, is too old, or lacks a
        function.
    """
    try:
        lib = ctypes.CDLL(soname, use_errno=True)
    except OSError as error:
        raise _unsupported(f"no {soname} ({error})") from error
    for name, (restype, argtypes) in PROTOTYPES.items():
        try:
            function = getattr(lib, name)
        except AttributeError as error:
            raise _unsupported(f"{soname} without {name}()") from error
        function.restype = restype
        function.argtypes = argtypes
        if name == "libbpf_minor_version":  # the first two, so that old beats lacking
            check_version(lib.libbpf_major_version(), lib.libbpf_minor_version())
    return lib


@functools.cache
def libbpf() -> ctypes.CDLL:
    """Return libbpf, loading it on first use.

    :raise UnsupportedError: when it is missing, too old, or lacks a function.
    """
    return load_library(SONAME)


def call_failed(call: str, result: int | None, hint: str = "") -> KernelCallError:
    """Build the error of a libbpf function that failed.

    :param call: the call with its telling arguments.
    :param result: its result: a negative errno, or None for NULL (then errno).
    :param hint: what the reader can do about it.
    """
    code = -result if result is not None and result < 0 else ctypes.get_errno()
    return KernelCallError(call, code, hint)


def error_text(code: int) -> str:
    """Return the text of an errno, or of one of libbpf's own codes (4000 and up)."""
    if code < 4000:
        return os.strerror(code)
    buffer = ctypes.create_string_buffer(256)
    libbpf().libbpf_strerror(code, buffer, len(buffer))
    return buffer.value.decode(errors="replace")
