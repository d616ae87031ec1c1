# SPDX-License-Identifier: GPL-2.0-or-later
"""Device trees in tests: dtc reads and writes them, with all its warnings on."""

from __future__ import annotations

import re
import subprocess

# dtc before 1.7 gives two strings, "a", "b", as one: "a\0b".
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\0")

# What dtc does not warn of unless it is asked.
_MORE = ("node_name_chars_strict", "property_name_chars_strict", "unique_unit_address_if_enabled")


def _run(source: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    strict = [word for name in _MORE for word in ("-W", name)]
    return subprocess.run(
        ["dtc", "-s", *strict, *arguments], input=source, capture_output=True, check=True
    )


def dtc(source: bytes, source_format: str, target_format: str) -> bytes:
    """Run dtc on a tree; it accepts it without a word."""
    done = _run(source, "-I", source_format, "-O", target_format)
    assert done.stderr == b"", done.stderr.decode()
    return done.stdout


def warnings(blob: bytes) -> set[str]:
    """Return what dtc says against a DTB."""
    return set(_run(blob, "-I", "dtb", "-O", "dtb").stderr.decode().splitlines())


def compiled(source: str) -> bytes:
    """Return a tree's DTB from its source, with labels kept; dtc may warn."""
    return subprocess.run(
        ["dtc", "-q", "-@", "-I", "dts", "-O", "dtb"],
        input=f"/dts-v1/;\n{source}".encode(),
        capture_output=True,
        check=True,
    ).stdout


def squeezed(blob: bytes) -> str:
    """Return a DTB's source as dtc (1.7) gives it, white space squeezed."""
    return _NUL.sub(r'\1", "', " ".join(dtc(blob, "dtb", "dts").decode().split()))
