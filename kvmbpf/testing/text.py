# SPDX-License-Identifier: GPL-2.0-or-later
"""printf for programs: the format strings that BPF's bpf_snprintf() takes.

Arguments are 64 bits each, as the helper gets them. Numbers, characters and
strings are written as C does; a pointer as its number. What the kernel refuses,
as ``%#x`` and a precision, is refused here.

Source: bpf_bprintf_prepare() in kernel/bpf/helpers.c, v6.12.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_SPEC = re.compile(r"%(?P<flags>[-+ 0]*)(?P<width>\d*)(?P<length>ll?)?(?P<kind>.?)", re.DOTALL)
_BITS = {None: 32, "l": 64, "ll": 64}


class FormatError(ValueError):
    """A format string that bpf_snprintf() would refuse."""


def format_text(
    text: str, arguments: Sequence[int], read_string: Callable[[int], bytes | None]
) -> str:
    """Format as printf does.

    :param arguments: C ``__u64`` each.
    :param read_string: gives the bytes at an address, for ``%s``; None at NULL.
    :raise FormatError: when a conversion is unknown, or arguments are too few or too many.
    """
    left = list(arguments)

    def convert(match: re.Match[str]) -> str:
        if match["kind"] == "%":
            return "%"
        if not left:
            raise FormatError(f"`{text}` wants more than {len(arguments)} arguments")
        return _one(match, left.pop(0), read_string)

    result = _SPEC.sub(convert, text)
    if left:
        used = len(arguments) - len(left)
        raise FormatError(f"`{text}` takes {used} arguments, not {len(arguments)}")
    return result


def _one(match: re.Match[str], argument: int, read_string: Callable[[int], bytes | None]) -> str:
    kind = match["kind"]
    spec = "%" + match["flags"] + match["width"]
    if kind and kind in "diuxX":
        bits = _BITS[match["length"]]
        value = argument & ((1 << bits) - 1)
        if kind in "di" and value >> (bits - 1):
            value -= 1 << bits
        return (spec + ("d" if kind in "diu" else kind)) % value
    if match["length"]:
        raise FormatError(f"unknown conversion {match[0]}")
    if kind == "c":
        return (spec + "c") % chr(argument & 0xFF)
    if kind == "p":
        return (spec + "s") % f"{argument:#x}"
    if kind == "s":
        raw = read_string(argument)
        return (spec + "s") % ("(null)" if raw is None else raw.decode(errors="replace"))
    raise FormatError(f"unknown conversion {match[0]}")
