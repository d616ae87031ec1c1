# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab kernel's configuration: a fragment on ``tinyconfig``, and its check.

Kconfig drops what it cannot satisfy without a word. A lab without, say, nested
KVM would fail much later and far from the cause, so each line of the fragment
is compared with the configuration that came out.
"""

from __future__ import annotations

import re
from pathlib import Path

from kvmbpf.errors import BadFileError, LabError

_LINE = re.compile(r"^(CONFIG_[A-Za-z0-9_]+)=(.+)$")


def read_options(path: Path) -> dict[str, str]:
    """Read a configuration or a fragment: option -> value; unset ones are absent.

    :raise BadFileError: when a line is neither an option nor a comment.
    """
    options: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.match(text)
        if match is None:
            raise BadFileError(path, f"line {number} is not CONFIG_NAME=value: {text!r}")
        options[match[1]] = match[2]
    return options


def check_survived(fragment: Path, config: Path) -> None:
    """Check that every line of a fragment holds in the final configuration.

    :raise LabError: when one does not; names it.
    """
    got = read_options(config)
    for option, wanted in read_options(fragment).items():
        value = got.get(option, "n")
        if value != wanted:
            raise LabError(
                f"{fragment.name}: {option}={wanted} came out as {value}: "
                "the kernel does not know it, or something that it depends on is off"
            )
