# SPDX-License-Identifier: GPL-2.0-or-later
"""A natively compiled device in this process: its entries, its memory, its crashes.

Each `NativeLibrary` is a copy of the file, so that two of one device share no
variable. What the device calls is given as a table of functions; what it leaves
behind in memory is read and written through /proc/self/mem, where a wrong pointer
of the device is an error and not a crash.
"""

from __future__ import annotations

import _ctypes
import ctypes
import functools
import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kvmbpf.closing import Closing
from kvmbpf.errors import StateError, UnsupportedError
from kvmbpf.testing import abi
from kvmbpf.testing.build import Built, guard_library
from kvmbpf.testing.symbols import find_line, read_symbols


class DeviceBug(StateError):  # noqa: N818 - it is the device that is wrong
    """The device did what the verifier would have refused: the sentence says where."""


class _Crash(ctypes.Structure):
    """``struct crash`` of guard.c."""

    _fields_ = (
        ("signal", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
        ("pc", ctypes.c_uint64),
        ("address", ctypes.c_uint64),
    )


@functools.cache
def _guarded() -> Any:  # noqa: ANN401 - a ctypes function
    function = ctypes.CDLL(str(guard_library())).kvmbpf_guarded
    function.restype = ctypes.c_int64
    function.argtypes = (*(ctypes.c_void_p,) * 5, ctypes.POINTER(_Crash))
    return function


class NativeLibrary(Closing):
    """A device's library, loaded.

    :param built: what to load; a copy of it is.
    :raise UnsupportedError: when this machine lets no file of its temporary
        folder be loaded.
    """

    def __init__(self, built: Built) -> None:
        self._built = built
        self._symbols = read_symbols(built.library)
        with tempfile.TemporaryDirectory(prefix="kvmbpf-") as folder:
            copy = Path(folder) / "device.so"
            shutil.copyfile(built.library, copy)
            try:
                self._library: ctypes.CDLL | None = ctypes.CDLL(str(copy))
            except OSError as error:
                raise UnsupportedError(
                    f"{folder}",
                    found=f"a folder that libraries cannot be loaded from ({error})",
                    needed="one without noexec",
                    mend="set TMPDIR to another folder",
                ) from error
        table = abi.Table.in_dll(self._library, abi.PREFIX)
        self._table: abi.Table | None = table
        self._base = ctypes.addressof(table) - self._symbols[abi.PREFIX].offset
        self._memory = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)

    def connect(self, calls: dict[str, Callable[..., Any]]) -> None:
        """Fill the table of what the device calls; the functions are kept alive.

        :param calls: one for each name in `abi.CALLS`.
        """
        for name, kind in abi.TYPES.items():
            setattr(self._table, name, kind(calls[name]))

    def entry(self, name: str) -> int | None:
        """Return the address of an entry, or None."""
        try:
            function = getattr(self._open(), f"{abi.PREFIX}_{name}")
        except AttributeError:
            return None
        return ctypes.cast(function, ctypes.c_void_p).value

    def address(self, name: str) -> tuple[int, bool] | None:
        """Return a variable's address, and whether it may be written; or None."""
        self._open()
        symbol = self._symbols.get(name)
        return None if symbol is None else (self._base + symbol.offset, symbol.writable)

    def call(self, function: int, *arguments: int | None) -> int:
        """Call a function of the device's with up to 4 pointers; return C ``int64_t``.

        :raise DeviceBug: when it made a signal.
        """
        __tracebackhide__ = True
        self._open()
        crash = _Crash()
        padded = (*arguments, None, None, None, None)[:4]
        result: int = _guarded()(function, *padded, ctypes.byref(crash))
        if crash.signal:
            raise self._crashed(crash)
        return result

    def _crashed(self, crash: _Crash) -> DeviceBug:
        line = find_line(self._built.library, crash.pc - self._base)
        where = line or f"a place without a line, {crash.pc:#x}"
        if crash.signal in (signal.SIGSEGV, signal.SIGBUS):
            null = ": a NULL pointer?" if crash.address < 1 << 16 else ""
            what = f"uses memory that is not there, at {crash.address:#x}{null}"
        else:
            what = "divides by 0, shifts by too much, or goes beyond an array"
        return DeviceBug(f"{self._built.source}: {where}: the device {what}")

    def read(self, address: int | None, size: int, what: str) -> bytes:
        """Read the device's memory.

        :param what: who asks for it, for the error.
        :raise DeviceBug: when there is none.
        """
        return os.pread(self._memory, size, self._check(address, size, what))

    def write(self, address: int | None, content: bytes, what: str) -> None:
        """Write the device's memory.

        :param what: who asks for it, for the error.
        :raise DeviceBug: when there is none.
        """
        os.pwrite(self._memory, content, self._check(address, len(content), what))

    def read_string(self, address: int | None, what: str, limit: int = 4096) -> bytes | None:
        """Read a NUL-terminated string; None at NULL."""
        if not address:
            return None
        found = b""
        while len(found) < limit and b"\0" not in found:
            step = min(256, 4096 - (address + len(found)) % 4096)
            found += self.read(address + len(found), step, what)
        return found.partition(b"\0")[0]

    def _check(self, address: int | None, size: int, what: str) -> int:
        """Refuse what is not in memory as a whole."""
        if address:
            try:
                if len(os.pread(self._memory, size, address)) == size:
                    return address
            except (OSError, OverflowError):
                pass
        raise DeviceBug(
            f"{self._built.source}: {what}: {size} bytes at {address or 0:#x} are not there"
        )

    def _open(self) -> ctypes.CDLL:
        if self._library is None:
            raise StateError(f"{self._built.source}: the device is closed")
        return self._library

    def close(self) -> None:
        """Unload the library; closing twice is fine."""
        library, self._library, self._table = self._library, None, None
        if library is not None:
            _ctypes.dlclose(library._handle)
            os.close(self._memory)
