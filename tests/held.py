# SPDX-License-Identifier: GPL-2.0-or-later
"""What this process holds, and that a test leaves nothing of it behind.

Kernels and objects are built beside the tests, in threads of this process, which have
pipes and /dev/null open for moments, whenever they start a program.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OTHERS = re.compile(r"thread |fd \d+ -> (pipe:|/dev/null$)")
"""What may have been held before by a thread beside the test."""


def held() -> set[str]:
    """Return what this process has open, as ``fd 3 -> target``, and its threads."""
    found = {f"thread {thread.native_id} {thread.name}" for thread in threading.enumerate()}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add(f"fd {entry.name} -> {entry.readlink()}")
        except FileNotFoundError:
            continue  # closed since it was listed
    return found


@contextmanager
def nothing_left(patience: float = 10.0) -> Iterator[None]:
    """Require that as much is held afterwards as before: no more, and no descriptor less.

    :param patience: how long threads beside the test may take to put away their own, in
        seconds.
    """
    before = held()
    yield
    deadline = time.monotonic() + patience
    while (left := held() - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left, f"left behind: {sorted(left)}"
    closed = sorted(what for what in before - held() if not _OTHERS.match(what))
    assert not closed, f"closed, of another's: {closed}"
