# SPDX-License-Identifier: GPL-2.0-or-later
"""click's `ParamType`, subscripted with what it converts to.

It is generic for a type checker, and at run time since click 8.4. Debian 12 has
8.1 and Debian 13 8.2, where ``ParamType[int]`` is a TypeError; there a class that
ignores the subscript stands in for it.
Obsolete when: pyproject.toml asks for click 8.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING or hasattr(click.ParamType, "__class_getitem__"):
    ParamType = click.ParamType
else:

    class ParamType(click.ParamType):
        """A type of click's before 8.4."""

        def __class_getitem__(cls, result: object) -> type[ParamType]:
            """Return the class itself, whatever it converts to."""
            return cls


__all__ = ["ParamType"]
