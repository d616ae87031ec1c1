# SPDX-License-Identifier: GPL-2.0-or-later
"""The value of a firmware property: from its text to a number or a string."""

from __future__ import annotations

import re

from kvmbpf.spec import PropertySpec

_CELL = re.compile(r"<\s*(0[xX][0-9a-fA-F]{1,8}|[0-9]{1,10})\s*>\Z")
_STRING = re.compile(r'"([^"\\]*)"\Z')


def simple_value(item: PropertySpec) -> int | str:
    """Return what one cell (C ``u32``) or one string says.

    :param item: the property.
    :raise ValueError: when its value is neither.
    """
    cell = _CELL.match(item.value)
    if cell is not None:
        return int(cell[1], 0)
    string = _STRING.match(item.value)
    if string is not None:
        return string[1]
    raise ValueError(f"property {item.name}: {item.value} is neither one cell nor one string")
