# SPDX-License-Identifier: GPL-2.0-or-later
"""Follow a running QEMU: its resets and its end.

QEMU tells of them by events on a QMP connection. A connection can be lost while
QEMU lives on, as when something between the two is restarted; then it is made
anew. Whether QEMU lives is asked of the kernel, by a descriptor of the process,
which no other process of the same number can be mistaken for.
"""

from __future__ import annotations

import contextlib
import enum
import time
from collections.abc import Generator

from kvmbpf.errors import VmmError
from kvmbpf.kernel.process import LivingProcess as LivingProcess
from qemu_glue.address import Address
from qemu_glue.qmp import QmpSession

# How long one wait for an event takes at most, and the time between two attempts to connect.
_EVENT_S = 0.5
_RETRY_S = 0.2
_CONNECT_S = 2.0
# A QEMU that ends closes its sockets some time before it is gone: only after this
# time is a connection called lost.
_GRACE_S = 2.0


class Happening(enum.Enum):
    """What happened to a QEMU."""

    RESET = "RESET"
    SHUTDOWN = "SHUTDOWN"
    LOST = "the connection was lost"
    BACK = "the connection is back"


_EVENTS = {one.value: one for one in (Happening.RESET, Happening.SHUTDOWN)}


def follow(
    process: LivingProcess, path: Address, session: QmpSession | None = None
) -> Generator[Happening]:
    """Yield what happens to a QEMU, until it ends.

    The events that came before a connection, or while there was none, are not
    seen: LOST and BACK tell of such a time.

    :param process: QEMU's.
    :param path: the socket on which it serves QMP.
    :param session: a session on it, which is closed in the end; None connects.
    :raise VmmError: when the first connection cannot be made.
    """
    session = session or QmpSession.connect(path)
    with contextlib.ExitStack() as stack:
        stack.enter_context(session)
        while True:
            try:
                event = session.next_event(_EVENT_S)
            except VmmError:
                session.close()
                again = _connect_again(process, path, _GRACE_S)
                if process.lives():
                    yield Happening.LOST
                again = again or _connect_again(process, path, None)
                if again is None:
                    return
                session = stack.enter_context(again)
                yield Happening.BACK
                continue
            if event is None and not process.lives():
                return
            happening = _EVENTS.get(str(event.get("event"))) if event else None
            if happening is not None:
                yield happening


def _connect_again(
    process: LivingProcess, path: Address, patience: float | None
) -> QmpSession | None:
    """Return a new session; None when QEMU ended, or after a time, before there was one."""
    deadline = None if patience is None else time.monotonic() + patience
    while process.lives() and (deadline is None or time.monotonic() < deadline):
        with contextlib.suppress(VmmError):
            return QmpSession.connect(path, _CONNECT_S)
        process.wait(_RETRY_S)
    return None
