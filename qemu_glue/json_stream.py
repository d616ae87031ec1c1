# SPDX-License-Identifier: GPL-2.0-or-later
"""Cut a stream into JSON objects, however they are spread over lines.

QEMU writes an object a line, or, with ``pretty=on``, over many. Where one ends is told
by its brackets; whether it is JSON is left to a parser. Each byte is looked at once.
"""

from __future__ import annotations

import re

# No answer of QEMU's is nearly as long; qemu.qmp and libvirt have the same limit.
LONGEST_BYTES = 10 * 1024 * 1024
# QEMU's own parser takes no more: MAX_NESTING in qobject/json-streamer.c.
_DEEPEST = 1024

_SPACE = b" \t\r\n"
_OUTSIDE = re.compile(rb'["{}\[\]]')
_INSIDE = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)


class NotJsonError(Exception):
    """A stream is no sequence of JSON objects."""


class JsonStream:
    """What has come of a stream, and is not taken yet."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._at = 0  # as far as it was looked at
        self._depth = 0
        self._in_string = False

    @property
    def rest(self) -> bytes:
        """The beginning of what has come and is no whole object."""
        return bytes(self._bytes[:200]).strip(_SPACE)

    def feed(self, data: bytes) -> None:
        """Take what came."""
        self._bytes += data

    def take(self) -> bytes | None:
        """Return the next object's text; None when it has not come to its end.

        :raise NotJsonError: when it begins as no object does, or is too long or deep.
        """
        if not self._depth:
            self._drop(len(self._bytes) - len(self._bytes.lstrip(_SPACE)))
            if self._bytes and self._bytes[0] != ord("{"):
                raise NotJsonError("no JSON object")
        end = self._end()
        if end is None:
            if len(self._bytes) > LONGEST_BYTES:
                raise NotJsonError(f"more than {LONGEST_BYTES >> 20} MiB in one message")
            return None
        found = bytes(self._bytes[:end])
        self._drop(end)
        return found

    def _drop(self, count: int) -> None:
        del self._bytes[:count]
        self._at = 0

    def _end(self) -> int | None:
        """Look on from where the last look ended; return where the object ends."""
        while True:
            if self._in_string:
                inside = _INSIDE.match(self._bytes, self._at)
                self._at = inside.end() if inside else self._at
                if self._bytes[self._at : self._at + 1] != b'"':
                    return None  # the string goes on; perhaps behind half an escape
                self._in_string = False
                self._at += 1
            found = _OUTSIDE.search(self._bytes, self._at)
            if found is None:
                self._at = len(self._bytes)
                return None
            self._at = found.end()
            mark = found[0]
            if mark == b'"':
                self._in_string = True
                continue
            self._depth += 1 if mark in b"{[" else -1
            if self._depth > _DEEPEST:
                raise NotJsonError(f"more than {_DEEPEST} brackets in one another")
            if self._depth == 0:
                return self._at
