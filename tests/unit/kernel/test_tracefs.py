# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.kernel.tracefs: formats and pages as the kernel writes them, and as it does not.

The pages here are of a little-endian kernel, as x86-64's and arm64's are.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmbpf.errors import UnsupportedError
from kvmbpf.kernel.tracefs import EventLayout, PageLayout, find_tracefs, read_page
from kvmbpf.kernel.tracefs.instance import process_start

FORMAT = """name: kvm_bpf_access
ID: 312
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:u64 device;\toffset:8;\tsize:8;\tsigned:0;
\tfield:int result;\toffset:16;\tsize:4;\tsigned:1;
\tfield:char comm[16];\toffset:20;\tsize:16;\tsigned:0;

print fmt: "device %llu", REC->device
"""
PAGE = """\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;
\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;
\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;
\tfield: char data;\toffset:16;\tsize:4080;\tsigned:0;
"""
LAYOUT = PageLayout(PAGE)


def head(type_len: int, delta: int = 0) -> bytes:
    return struct.pack("<I", type_len | delta << 5)


def page(data: bytes, time_ns: int = 1000, flags: int = 0) -> bytes:
    return struct.pack("<QQ", time_ns, len(data) | flags) + data.ljust(4080, b"\0")


def test_fields_are_where_the_format_says() -> None:
    layout = EventLayout(FORMAT, ["device", "result", "common_pid"])
    data = struct.pack("<HBBiQi16s", 312, 0, 0, 77, 5, -95, b"x")
    fields = layout.decode(data)
    assert fields is not None
    assert (fields["common_pid"], fields["device"], fields["result"]) == (77, 5, -95)


def test_another_event_is_none() -> None:
    assert EventLayout(FORMAT, []).decode(struct.pack("<HBBi", 313, 0, 0, 0)) is None


def test_an_event_that_is_too_short_is_an_error() -> None:
    with pytest.raises(ValueError, match="field"):
        EventLayout(FORMAT, []).decode(struct.pack("<HBBiQ", 312, 0, 0, 0, 1))


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        (FORMAT.replace("u64 device", "u64 engine"), "device"),
        (FORMAT.replace("ID: 312", ""), "ID"),
        ("", "ID, common_type, device"),
    ],
)
def test_what_a_format_lacks_is_named(text: str, missing: str) -> None:
    with pytest.raises(UnsupportedError, match=f"one without {missing};|one without {missing},"):
        EventLayout(text, ["device"])


def test_a_page_head_without_commit_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="commit"):
        PageLayout(PAGE.replace("commit", "submit"))


def test_events_of_every_length_and_their_times() -> None:
    short = head(2, 10) + b"12345678"
    long = head(0, 5) + struct.pack("<I", 4 + 12) + b"twelve bytes"
    found = read_page(page(short + long), LAYOUT)
    assert [(event.time_ns, event.data) for event in found.events] == [
        (1010, b"12345678"),
        (1015, b"twelve bytes"),
    ]
    assert found.lost == 0


def test_times_that_need_more_bits() -> None:
    extend = head(30, 1) + struct.pack("<I", 2)
    absolute = head(31, 3) + struct.pack("<I", 4)
    event = head(1, 7) + b"data"
    found = read_page(page(extend + event + absolute + event), LAYOUT)
    assert [event.time_ns for event in found.events] == [
        1000 + 1 + (2 << 27) + 7,
        3 + (4 << 27) + 7,
    ]


def test_an_absolute_time_keeps_the_bits_that_it_has_no_room_for() -> None:
    high = 3 << 60
    found = read_page(page(head(31, 1) + bytes(4) + head(1) + b"data", high | 5), LAYOUT)
    assert [event.time_ns for event in found.events] == [high | 1]


def test_a_discarded_event_is_passed_over() -> None:
    discarded = head(29, 1) + struct.pack("<I", 8) + b"gone"
    found = read_page(page(discarded + head(1, 2) + b"data"), LAYOUT)
    assert [(event.time_ns, event.data) for event in found.events] == [(1002, b"data")]


def test_padding_ends_a_page() -> None:
    found = read_page(page(head(1) + b"data" + head(29) + bytes(4) + head(1) + b"none"), LAYOUT)
    assert [event.data for event in found.events] == [b"data"]


@pytest.mark.parametrize(
    ("flags", "stored", "lost"), [(1 << 31, 0, -1), (3 << 30, 17, 17), (0, 17, 0)]
)
def test_lost_events_are_told(flags: int, stored: int, lost: int) -> None:
    data = head(1) + b"data"
    raw = bytearray(page(data, flags=flags))
    raw[16 + len(data) : 24 + len(data)] = struct.pack("<Q", stored)
    assert read_page(bytes(raw), LAYOUT).lost == lost


@given(st.binary(min_size=16, max_size=4096))
def test_whatever_a_page_says_reading_it_ends(raw: bytes) -> None:
    found = read_page(raw, LAYOUT)
    assert sum(len(event.data) for event in found.events) <= len(raw)


def test_a_page_without_a_head_is_an_error() -> None:
    with pytest.raises(ValueError, match="field"):
        read_page(bytes(15), LAYOUT)


def test_tracefs_is_found_in_the_mount_table(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("proc /proc proc rw 0 0\ntracefs /here tracefs rw 0 0\n")
    assert find_tracefs(mounts) == Path("/here")


def test_no_tracefs_says_how_to_mount_it(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("proc /proc proc rw 0 0\n")
    with pytest.raises(UnsupportedError, match="mount -t tracefs"):
        find_tracefs(mounts)


def test_a_process_is_known_by_its_start() -> None:
    assert process_start(os.getpid()) is not None
    assert process_start(2**22) is None
