# SPDX-License-Identifier: GPL-2.0-or-later
"""libbpf's messages, kept for the error that may follow, never printed.

libbpf has one print function for the process and calls it on the thread that
called libbpf. `capture()` names a list that gets the messages of the calls
made inside it, on this thread; outside of any capture messages are dropped.

To open an object libbpf has hundreds of debug messages, each of which costs a call
of Python for nothing. In `quiet()` there is no print function at all, as long as no
other thread wants messages.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import threading
from collections.abc import Iterator, MutableSequence

from kvmbpf.kernel.libbpf.lib import libbpf
from kvmbpf.kernel.libbpf.protos import PrintFn

_LIBBPF_DEBUG = 2  # enum libbpf_print_level: WARN, INFO, DEBUG
_sinks = threading.local()


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None)
    # int vasprintf(char **strp, const char *fmt, va_list ap);
    libc.vasprintf.restype = ctypes.c_int
    libc.vasprintf.argtypes = (
        ctypes.POINTER(ctypes.c_void_p),
        ctypes.c_void_p,
        ctypes.c_void_p,
    )
    libc.free.restype = None
    libc.free.argtypes = (ctypes.c_void_p,)
    return libc


def _on_message(level: int, fmt: int, ap: int) -> int:
    if level >= _LIBBPF_DEBUG:  # hundreds of them in each load
        return 0
    sink: MutableSequence[str] | None = getattr(_sinks, "top", None)
    if sink is None:
        return 0
    text = ctypes.c_void_p()
    length: int = _libc().vasprintf(ctypes.byref(text), fmt, ap)
    if length < 0 or text.value is None:
        return length
    sink.append(ctypes.string_at(text.value, length).decode(errors="replace").rstrip())
    _libc().free(text)
    return length


_callback = PrintFn(_on_message)  # libbpf keeps its address: it must live as long


_nobody = PrintFn()  # NULL


class _PrintFunction:
    """libbpf's print function: none only while no thread captures."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._captures = 0

    def begin_capture(self) -> None:
        with self._lock:
            self._captures += 1
            libbpf().libbpf_set_print(_callback)

    def end_capture(self) -> None:
        with self._lock:
            self._captures -= 1

    def take_away(self) -> None:
        with self._lock:
            libbpf().libbpf_set_print(_callback if self._captures else _nobody)

    def put_back(self) -> None:
        libbpf().libbpf_set_print(_callback)


_print_function = _PrintFunction()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what libbpf says on this thread inside the block.

    :raise UnsupportedError: when libbpf is missing or too old.
    """
    _print_function.take_away()
    before = getattr(_sinks, "top", None)
    _sinks.top = None
    try:
        yield
    finally:
        _sinks.top = before
        _print_function.put_back()


@contextlib.contextmanager
def capture(sink: MutableSequence[str]) -> Iterator[None]:
    """Append to `sink` what libbpf says on this thread inside the block.

    :param sink: gets one entry a message; debug messages are left out.
    :raise UnsupportedError: when libbpf is missing or too old.
    """
    _print_function.begin_capture()
    before = getattr(_sinks, "top", None)
    _sinks.top = sink
    try:
        yield
    finally:
        _sinks.top = before
        _print_function.end_capture()
