# SPDX-License-Identifier: GPL-2.0-or-later
"""What this process holds, and that a test leaves nothing of it behind.

Kernels and objects are built beside the tests, in threads of this process. They start
programs and keep logs, so what those are made of (pipes, plain files) tells nothing.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What the code under test opens: objects of BPF, of KVM and of an event loop; QMP's sockets;
# devices' objects.
_KINDS = ("anon_inode:", "socket:", "/dev/kvm")
_OBJECT = ".o"


def held() -> set[str]:
    """Return what this process has open, as ``fd 3 -> target``, and its threads."""
    found = {f"thread {thread.native_id} {thread.name}" for thread in threading.enumerate()}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(entry)  # noqa: PTH115 (may be no path)
        except FileNotFoundError:
            continue  # closed since it was listed
        if target.startswith(_KINDS) or target.endswith(_OBJECT):
            found.add(f"fd {entry.name} -> {target}")
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
    gone = sorted(what for what in before - held() if what.startswith("fd "))
    assert not gone, f"closed, of another's: {gone}"
