# SPDX-License-Identifier: GPL-2.0-or-later
"""A VMM in a process of its own: a bare-metal guest that obeys a pipe.

Stands for any VMM that was started by hand: the manager knows nothing but its
process id.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
from multiprocessing.connection import Connection

from kvmbpf.bench.loop_guest import LOOP_DONE, Access, LoopGuest
from kvmbpf.closing import Closing
from tests.lab.steered import GPA

_PR_SET_DUMPABLE = 4


class BareVmm(Closing):
    """A VMM process; leaving the context ends it.

    :param vms: how many VMs it has; the first one's guest obeys.
    :param user: the user and group that it becomes, or None.
    """

    def __init__(self, *, vms: int = 1, user: int | None = None) -> None:
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, self._pipe, vms, user), daemon=True
        )
        self._process.start()
        theirs.close()
        assert self._pipe.recv() == "ready"
        assert self._process.pid is not None
        self.pid = self._process.pid

    def reads(self, count: int = 1, offset: int = 0) -> int | None:
        """Have the guest read; return the last value, None if one reached the VMM."""
        self._pipe.send((Access.READ, count, offset))
        return self.await_reads()

    def writes(self, count: int = 1, offset: int = 0) -> bool:
        """Have the guest write; return whether none reached the VMM."""
        self._pipe.send((Access.WRITE, count, offset))
        return self.await_reads() is not None

    def start_reads(self, count: int) -> None:
        """Have the guest read in the background; `await_reads` ends it."""
        self._pipe.send((Access.READ, count, 0))

    def await_reads(self) -> int | None:
        """Wait for what `start_reads` started."""
        value: int | None = self._pipe.recv()
        return value

    def kill(self) -> None:
        """Kill the process, as by an accident."""
        os.kill(self.pid, signal.SIGKILL)
        self._process.join()

    def close(self) -> None:
        if self._process.is_alive():
            self.kill()
        self._pipe.close()


def _become(user: int) -> None:
    """Be a user's process, as one that was started by that user."""
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def _serve(pipe: Connection, parents: Connection, vms: int, user: int | None) -> None:
    parents.close()
    with contextlib.ExitStack() as stack:
        guest, *_ = [stack.enter_context(LoopGuest(GPA, irqchip=True)) for _ in range(vms)]
        if user is not None:
            _become(user)
        pipe.send("ready")
        while True:
            access, count, offset = pipe.recv()
            guest.begin(access, count, value=0, offset=offset)
            stayed = guest.vcpu.run() == LOOP_DONE
            if not stayed:
                while guest.vcpu.run() != LOOP_DONE:
                    continue
            pipe.send(guest.vcpu.registers().rax & 0xFFFFFFFF if stayed else None)
