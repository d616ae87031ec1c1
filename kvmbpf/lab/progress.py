# SPDX-License-Identifier: GPL-2.0-or-later
"""Progress of a long build: one living line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TextIO

# Elsewhere than on a terminal, a line this often at most (seconds).
PLAIN_EVERY_S = 30.0
LIVE_EVERY_S = 0.2


class Progress:
    """Tell which step runs, how many files it has compiled, and for how long.

    :param stream: where to write; standard error by default.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._live = self._stream.isatty()
        self._begin = time.monotonic()
        self._shown = 0.0
        self._step = ""
        self._files = 0
        self._there = False

    def step(self, text: str) -> None:
        """Begin a step."""
        self._step = text
        self._files = 0
        self._show()

    def compiled(self, files: int) -> None:
        """Tell how many files the step has compiled so far."""
        self._files = files
        every = LIVE_EVERY_S if self._live else PLAIN_EVERY_S
        if time.monotonic() - self._shown >= every:
            self._show()

    def at(self, text: str) -> None:
        """Tell how far a step is: as often as that is fit to be shown."""
        self._step = text
        self._files = 0
        every = LIVE_EVERY_S if self._live else PLAIN_EVERY_S
        if time.monotonic() - self._shown >= every:
            self._show()

    def clear(self) -> None:
        """Take the living line away, so that another can be printed."""
        if self._live and self._there:
            self._stream.write("\r\033[K")
            self._stream.flush()
            self._there = False

    def done(self, text: str) -> None:
        """End with a line that stays."""
        self._step = text
        self._files = 0
        self._show(last=True)

    def _show(self, last: bool = False) -> None:
        self._shown = time.monotonic()
        elapsed = int(self._shown - self._begin)
        files = f", {self._files} files" if self._files else ""
        line = f"lab: {self._step}{files} [{elapsed // 60}:{elapsed % 60:02d}]"
        if self._live:
            self._stream.write(f"\r\033[K{line}" + ("\n" if last else ""))
            self._there = not last
        else:
            self._stream.write(line + "\n")
        self._stream.flush()
