# SPDX-License-Identifier: GPL-2.0-or-later
"""libbpf itself, loaded when it is first used.

`libbpf()` returns the shared library. Each function gets its prototype from
`kvmbpf.kernel.libbpf.protos` when it is first called, so that a library serves for all
that it can do. What it cannot do, for its age or for want of a function, is an
`UnsupportedError` at the first use of that feature: it names the version found
and the one needed, and how to get it.
"""

from __future__ import annotations

import ctypes
import enum
import functools
import os
from typing import Any

from kvmbpf.errors import KernelCallError, UnsupportedError
from kvmbpf.kernel.libbpf.protos import PROTOTYPES
from kvmbpf.mends import mend, scarce

SONAME = "libbpf.so.1"
MEND = (
    "Debian 12: apt install -t bookworm-backports libbpf1; Debian 13: apt install libbpf1; "
    "elsewhere: a newer libbpf.so.1"
)


class Feature(enum.Enum):
    """What needs a certain libbpf: what it is, and the first version that has it.

    For what is left out of an object (programs, struct_ops maps) no version is
    needed.
    """

    ANY = "objects, programs and maps", (1, 0)
    # 1.2 knows section .struct_ops.link; programs' log buffers work with it since 1.3.
    STRUCT_OPS = "struct_ops links", (1, 3)
    STRUCT_OPS_FIELDS = "the fields that an object sets in a struct_ops", (1, 4)
    MODULE_STRUCT_OPS = "struct_ops types of a kernel module", (1, 4)

    def __init__(self, words: str, since: tuple[int, int]) -> None:
        self.words = words
        self.since = since


class Library(ctypes.CDLL):
    """A libbpf whose functions are looked up, with their prototypes, when they are used.

    :param soname: what to give to dlopen(3).
    :raise UnsupportedError: when it cannot be loaded, is no libbpf, or is too
        old for anything.
    :raise KernelCallError: when there are no descriptors, or no memory, to load it.
    """

    def __init__(self, soname: str) -> None:
        self.soname = soname
        try:
            super().__init__(soname, use_errno=True)
        except OSError as error:
            code = scarce(str(error))
            if code is not None:
                raise KernelCallError(f"dlopen({soname})", code, mend(code)) from error
            raise _unsupported(Feature.ANY, f"no {soname} ({error})") from error
        self.version: tuple[int, int] = (0, 0)
        self.version = self.libbpf_major_version(), self.libbpf_minor_version()
        self.need(Feature.ANY)

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 (ctypes' own)
        """Return a function with its prototype; ctypes keeps it as an attribute.

        :raise UnsupportedError: when the library has no such function.
        """
        restype, argtypes = PROTOTYPES[name]
        try:
            function = super().__getitem__(name)
        except AttributeError as error:
            found = ".".join(map(str, self.version)) if any(self.version) else self.soname
            raise UnsupportedError(
                "libbpf", found=f"{found} without {name}()", needed="one that has it", mend=MEND
            ) from error
        function.restype = restype
        function.argtypes = argtypes
        return function

    def need(self, feature: Feature) -> None:
        """Refuse a library that is too old for a feature.

        :raise UnsupportedError: when it is.
        """
        if self.version < feature.since:
            raise _unsupported(feature, ".".join(map(str, self.version)))


def _unsupported(feature: Feature, found: str) -> UnsupportedError:
    major, minor = feature.since
    return UnsupportedError(
        "libbpf", found=found, needed=f"{major}.{minor} or newer for {feature.words}", mend=MEND
    )


@functools.cache
def libbpf() -> Library:
    """Return libbpf, loading it on first use.

    :raise UnsupportedError: when it is missing or too old for anything.
    """
    return Library(SONAME)


def need(feature: Feature) -> None:
    """Refuse to go on with a libbpf that is too old for a feature.

    :raise UnsupportedError: when it is, or is missing.
    """
    libbpf().need(feature)


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
