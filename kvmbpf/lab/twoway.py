# SPDX-License-Identifier: GPL-2.0-or-later
"""Carry bytes both ways between two ends, such as a terminal and a socket.

An end that takes nothing stops only its own direction: no byte is dropped, and
none is read before the last one has found its way.
"""

from __future__ import annotations

import os
import select

_CHUNK = 4096


class Lane:
    """One direction.

    :param source: descriptor to read from; stays the caller's.
    :param target: descriptor to write to; stays the caller's.
    """

    def __init__(self, source: int, target: int) -> None:
        self.source = source
        self.target = target
        self.pending = b""
        self.ended = False

    def read(self) -> None:
        """Take what is there; the other end's hang-up is this lane's end."""
        try:
            self.pending = os.read(self.source, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            # How a pseudo-terminal (EIO) and a socket (ECONNRESET) say that nobody is there.
            self.ended = True
            return
        self.ended = not self.pending

    def write(self) -> None:
        """Give on what can be given."""
        try:
            self.pending = self.pending[os.write(self.target, self.pending) :]
        except BlockingIOError:
            return
        except OSError:
            self.pending, self.ended = b"", True


class TwoWay:
    """Two lanes that are worked on together."""

    def __init__(self, *lanes: Lane) -> None:
        self._lanes = lanes

    def step(self, timeout_s: float, *watched: int) -> set[int]:
        """Carry what there is to carry, or wait for it.

        :param timeout_s: the longest wait, in seconds.
        :param watched: other descriptors whose readiness ends the wait.
        :return: those of them that are ready.
        """
        idle = [lane for lane in self._lanes if not lane.pending and not lane.ended]
        busy = [lane for lane in self._lanes if lane.pending]
        readers = {lane.source: lane for lane in idle}
        writers = {lane.target: lane for lane in busy}
        readable, writable, _ = select.select([*readers, *watched], list(writers), [], timeout_s)
        for fd in writable:
            writers[fd].write()
        for fd in readable:
            if fd in readers:
                readers[fd].read()
        return set(readable) & set(watched)

    def drain(self, lane: Lane, timeout_s: float) -> None:
        """Carry one lane on until it ends, or nothing comes for a while.

        :param timeout_s: the longest wait for the next bytes, in seconds.
        """
        alone = TwoWay(lane)
        while lane.pending or not lane.ended:
            before = (lane.pending, lane.ended)
            alone.step(timeout_s)
            if (lane.pending, lane.ended) == before:
                return
