# SPDX-License-Identifier: GPL-2.0-or-later
"""printf for devices: the same text as the C library's printf gives."""

from __future__ import annotations

import ctypes

import pytest

from kvmbpf.testing.text import FormatError, format_text

NUMBERS = [0, 1, 0x80000000, 0xFFFFFFFF, 0x123456789ABCDEF0, (1 << 64) - 1]
FORMATS = [
    *("%d", "%i", "%u", "%x", "%X", "%ld", "%lu", "%lx", "%lld", "%llu", "%llX"),
    *("%5d|", "%-5d|", "%05d", "%+d", "% d", "%%%u%%"),
]


def c_text(text: str, argument: int) -> str:
    """Format by the C library."""
    buffer = ctypes.create_string_buffer(256)
    ctypes.CDLL(None).snprintf(buffer, 256, text.encode(), ctypes.c_uint64(argument))
    return buffer.value.decode()


@pytest.mark.parametrize("text", FORMATS)
@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_are_written_as_c_does(text: str, number: int) -> None:
    assert format_text(text, [number], lambda _: None) == c_text(text, number)


def test_strings_and_characters() -> None:
    strings = {16: b"guest", 32: b""}
    assert format_text("%s-%s-%6s|", [16, 32, 16], strings.get) == "guest-- guest|"
    assert format_text("%s", [0], strings.get) == "(null)"
    assert format_text("%c%c", [0x141, 66], strings.get) == "AB"
    assert format_text("%p", [0xABC], strings.get) == "0xabc"


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        ("%d %d", [1], "wants more than 1 arguments"),
        ("%d", [1, 2], "takes 1 arguments, not 2"),
        ("none", [1], "takes 0 arguments, not 1"),
        ("%n", [1], "unknown conversion %n"),
        *((text, [1], f"unknown conversion {text[:2]}") for text in ("%f", "%#x", "%.2s", "%hd")),
        ("%ls", [1], "unknown conversion %ls"),
        ("%", [1], "unknown conversion %"),
    ],
)
def test_a_format_that_does_not_fit(text: str, arguments: list[int], words: str) -> None:
    with pytest.raises(FormatError, match=words):
        format_text(text, arguments, lambda _: None)
