# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab kernel's configuration: fragments on ``tinyconfig``, and their check.

Kconfig drops what it cannot satisfy without a word. A lab without, say, nested
KVM would fail much later and far from the cause, so each line of the fragments
is compared with the configuration that came out. Of two values that fragments
give one option, the later holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
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


def check_survived(fragments: Iterable[Path], config: Path) -> None:
    """Check that what the fragments ask for holds in the final configuration.

    :param fragments: the later ones over the earlier.
    :raise LabError: when a line does not hold; names it, its file and the mend.
    """
    wanted = {
        option: (value, fragment)
        for fragment in fragments
        for option, value in read_options(fragment).items()
    }
    got = read_options(config)
    for option, (value, fragment) in wanted.items():
        found = got.get(option, "n")
        if found != value:
            raise LabError(
                f"{fragment.name}: {option}={value} came out as {found}: the kernel does not know "
                "it, or something that it depends on is off; add that to the fragment, "
                "or take the line out"
            )
