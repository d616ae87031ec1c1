# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages of the kernel's trace ring buffer, taken apart.

A page is a head (time, bytes used, whether events were lost before it) and
events one after another. An event begins with 32 bits, 5 of type_len and 27 of
the time since the one before::

    0         its length is in the next 4 bytes, these included
    1 to 28   its data is that many times 4 bytes
    29        padding: to the end of the page, or as long as the next 4 bytes say
    30        time only: the next 4 bytes are bits 27 and up of the difference
    31        time only: the same, of the absolute time

Whatever a page says, reading it ends at its end.

Source: include/linux/ring_buffer.h and kernel/trace/ring_buffer.c, v6.12.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from kvmbpf.kernel.tracefs.layout import PageLayout

_PADDING, _TIME_EXTEND, _TIME_STAMP = 29, 30, 31
_DELTA_BITS = 27
_COMMIT_MASK = (1 << 20) - 1
_MISSED_EVENTS = 1 << 31
_MISSED_STORED = 1 << 30
_TOP_BITS = ((1 << 64) - 1) ^ ((1 << 59) - 1)  # an absolute time has the low 59


@dataclass(frozen=True)
class Event:
    """One event: its time by the instance's clock in ns, and its data."""

    time_ns: int
    data: bytes


@dataclass(frozen=True)
class Page:
    """What a page holds.

    :param lost: events that were overwritten before it; -1 for an unknown number.
    """

    events: tuple[Event, ...]
    lost: int


def _word(page: bytes, offset: int) -> int:
    return int.from_bytes(page[offset : offset + 4], sys.byteorder)


def _head(word: int) -> tuple[int, int]:
    """Split an event's first word into type_len and time delta."""
    if sys.byteorder == "little":
        return word & 0x1F, word >> 5
    return word >> _DELTA_BITS, word & ((1 << _DELTA_BITS) - 1)


def read_page(page: bytes, layout: PageLayout) -> Page:
    """Take a page apart.

    :param page: as ``trace_pipe_raw`` gives it.
    :raise ValueError: when it is too short for its head.
    """
    time_ns = layout.timestamp.read(page)
    commit = layout.commit.read(page)
    start = layout.data_offset
    end = min(start + (commit & _COMMIT_MASK), len(page))
    return Page(tuple(_events(page[start:end], time_ns)), _lost(page, commit, end))


def _lost(page: bytes, commit: int, end: int) -> int:
    if not commit & _MISSED_EVENTS:
        return 0
    if commit & _MISSED_STORED and end + 8 <= len(page):
        return int.from_bytes(page[end : end + 8], sys.byteorder)
    return -1


def _events(data: bytes, time_ns: int) -> list[Event]:
    found = []
    offset = 0
    while offset + 4 <= len(data):
        type_len, delta = _head(_word(data, offset))
        offset += 4
        if type_len == _TIME_EXTEND:
            time_ns += delta + (_word(data, offset) << _DELTA_BITS)
            offset += 4
        elif type_len == _TIME_STAMP:
            time_ns = time_ns & _TOP_BITS | delta + (_word(data, offset) << _DELTA_BITS)
            offset += 4
        elif type_len == _PADDING:
            length = _word(data, offset)
            if delta == 0 or length < 4:
                break
            time_ns += delta if delta > 1 else 0  # 1: it has none, and may not be 0
            offset += length
        else:
            length, begin = type_len * 4, offset
            if type_len == 0:
                length, begin = _word(data, offset) - 4, offset + 4
            if length <= 0 or begin + length > len(data):
                break
            time_ns += delta
            found.append(Event(time_ns, data[begin : begin + length]))
            offset = begin + length
    return found
