# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that go on until they are stopped, and then tidy up.

Ctrl-C is their normal end. SIGTERM and SIGHUP end them as well, with the status
that a shell gives to a process that these have killed; so does a reader of their
output that goes away. Whatever it was, every block in between is left in order.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _StoppedError(BaseException):
    """A signal asked for the end; no `except Exception` may take it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Let a second signal not disturb what the first one has begun."""


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    for each in _SIGNALS:
        signal.signal(each, _ignore)
    raise _StoppedError(number)


def run_until_stopped(body: Callable[[], None]) -> int:
    """Run a body that may go on for ever; return the command's exit status.

    :return: 0 when it ended by itself or by Ctrl-C, else 128 and the signal.
    """
    before = {number: signal.signal(number, _stop) for number in _SIGNALS}
    try:
        body()
        sys.stdout.flush()
    except _StoppedError as stopped:
        return 0 if stopped.number == signal.SIGINT else 128 + stopped.number
    except BrokenPipeError:
        # Python flushes again at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0
