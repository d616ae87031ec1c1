# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the fields of an event are: the kernel's own ``format`` files, read.

Offsets and sizes differ between kernels and architectures, so they are taken
from the running one. A format reads::

    name: kvm_bpf_access
    ID: 312
    format:
            field:unsigned short common_type;	offset:0;	size:2;	signed:0;
            field:u64 device;	offset:8;	size:8;	signed:0;

Source: Documentation/trace/events.rst, "Event formats", v6.12.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from kvmbpf.errors import UnsupportedError

_FIELD = re.compile(
    r"\s*field:\s*(?P<type>[^;]*?)\s*(?P<name>\w+)(?P<array>\[[^\]]*\])?;"
    r"\s*offset:\s*(?P<offset>\d+);\s*size:\s*(?P<size>\d+);(\s*signed:\s*(?P<signed>[01]);)?"
)
_ID = re.compile(r"^ID:\s*(\d+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Field:
    """One field; offset and size in bytes."""

    name: str
    offset: int
    size: int
    signed: bool

    def read(self, data: bytes) -> int:
        """Return the field's value as an integer.

        :param data: a whole event.
        :raise ValueError: when the event ends before the field does.
        """
        raw = data[self.offset : self.offset + self.size]
        if len(raw) != self.size:
            raise ValueError(f"field {self.name} ends at {self.offset + self.size}")
        return int.from_bytes(raw, sys.byteorder, signed=self.signed)


def _fields(text: str) -> dict[str, Field]:
    found = {}
    for line in text.splitlines():
        match = _FIELD.match(line)
        if match is not None:
            name = match["name"]
            signed = match["signed"] == "1"
            found[name] = Field(name, int(match["offset"]), int(match["size"]), signed)
    return found


def _missing(what: str, names: Iterable[str]) -> UnsupportedError:
    return UnsupportedError(
        what,
        found=f"one without {', '.join(sorted(names))}",
        needed="the fields that this kvmbpf decodes",
        mend="use the kvmbpf of the kernel's series",
    )


class EventLayout:
    """The layout of one event.

    :param text: its ``format`` file.
    :param needed: fields that it must have.
    :raise UnsupportedError: when one is not there.
    """

    def __init__(self, text: str, needed: Iterable[str]) -> None:
        self.fields = _fields(text)
        match = _ID.search(text)
        missing = {"common_type", *needed} - set(self.fields)
        if match is None:
            missing.add("ID")
        if missing or match is None:
            raise _missing("the event's format", missing)
        self.id = int(match[1])

    def decode(self, data: bytes) -> dict[str, int] | None:
        """Return an event's fields, or None when it is another event.

        :param data: the event, without its header.
        :raise ValueError: when the event is too short.
        """
        if self.fields["common_type"].read(data) != self.id:
            return None
        return {name: field.read(data) for name, field in self.fields.items()}


class PageLayout:
    """The layout of a page of the ring buffer.

    :param text: the file ``events/header_page``.
    :raise UnsupportedError: when it does not tell what is needed.
    """

    def __init__(self, text: str) -> None:
        fields = _fields(text)
        missing = {"timestamp", "commit", "data"} - set(fields)
        if missing:
            raise _missing("events/header_page", missing)
        self.timestamp = fields["timestamp"]
        self.commit = fields["commit"]
        self.data_offset = fields["data"].offset
        self.page_bytes = fields["data"].offset + fields["data"].size
