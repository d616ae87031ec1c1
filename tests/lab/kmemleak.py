# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory that the kernel lost: what kmemleak finds, and whose it is.

The rule: a leak is ours, and fails the test, when its backtrace names a function
of KVM or BPF. Any other is the rest of the kernel's: it fails nothing, and is
shown after the tests, so that somebody can report it where it belongs.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

KMEMLEAK = Path("/sys/kernel/debug/kmemleak")
# The name under which a test's report carries a leak that is not ours.
LEAK_ELSEWHERE = "leak_elsewhere"
# One scan may take for lost what was on its way from one list to another.
_BETWEEN_SCANS_S = 5.0

_OURS = re.compile(r"^\s+(\[<\w+>\] )?\w*(kvm|bpf)", re.IGNORECASE | re.MULTILINE)


def find_leaks() -> list[str]:
    """Have the kernel scan its memory twice, and return the leaks, each with its backtrace."""
    KMEMLEAK.write_text("scan", encoding="ascii")
    time.sleep(_BETWEEN_SCANS_S)
    KMEMLEAK.write_text("scan", encoding="ascii")
    return split_leaks(KMEMLEAK.read_text(encoding="utf-8", errors="replace"))


def split_leaks(text: str) -> list[str]:
    """Split what kmemleak says into its leaks."""
    parts = re.split(r"^(?=unreferenced object )", text, flags=re.MULTILINE)
    return [part.rstrip() for part in parts if part.startswith("unreferenced object")]


def is_ours(leak: str) -> bool:
    """Tell whether a leak's backtrace names a function of KVM or BPF."""
    _, _, backtrace = leak.partition("backtrace")
    return bool(_OURS.search(backtrace))
