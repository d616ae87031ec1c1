# SPDX-License-Identifier: GPL-2.0-or-later
"""What a device's programs say by kvmbpf_log(), for whoever listens.

A program tests a flag and says nothing while nobody listens, so listening is to set
that flag, and to clear it again whatever happens; after a SIGKILL the next
listener does. A ring has one reader: a second listener is told who it is. An
update hands ring and flag on; where the new object brings its own, these are
listened to from then on.

Source: kvmbpf/author/bpf/kvmbpf_log.h, kvmbpf_access.h.
"""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

from kvmbpf.closing import Closing
from kvmbpf.errors import BadFileError, StateError
from kvmbpf.kernel.libbpf import BpfMap, RingBuffer
from kvmbpf.kernel.rights import require
from kvmbpf.manager import lock
from kvmbpf.manager.devices import find_device, status
from kvmbpf.manager.store import Store
from kvmbpf.model.vm_name import shown

RING = "kvmbpf_log_ring"
SECTION = ".data.kvmbpf_log"
_FLAG = "kvmbpf_log_listeners"
_LOST = "kvmbpf_log_lost"
# struct kvmbpf_log_record: time_ns, length, reserved, text[112]
_RECORD = struct.Struct("=QII112s")
_LOOK_S = 0.5  # how often to look whether it is attached still, and by that ring


@dataclass(frozen=True)
class Message:
    """What a program said.

    :param time_ns: when, by CLOCK_MONOTONIC.
    """

    time_ns: int
    text: str


class Listener(Closing):
    """Listens to a device; only `follow` has it say anything.

    :param vm: the VM's name; None where the device's is unique.
    :param pid: of its VMM, where VMs of one name have the device; None for any.
    :raise StateError: when it is not attached, says nothing, or has a listener.
    :raise UnsupportedError: without CAP_SYS_ADMIN.
    """

    def __init__(
        self, store: Store, device: str, *, vm: str | None = None, pid: int | None = None
    ) -> None:
        record = find_device(store, device, vm, pid).record
        require("kvmbpf log", "CAP_SYS_ADMIN")
        self._store = store
        self.vm, self.device, self._home = record.vm, record.device, record.home
        self.lost = 0
        self._stack = contextlib.ExitStack()
        try:
            path = store.record_path(self._home, self.device).with_suffix(".log.lock")
            self._stack.enter_context(
                lock.hold(
                    path, f"device {self.device} of VM {shown(self.vm)}", "listens to it already"
                )
            )
            self._source = self._stack.enter_context(_Source(store, self._home, self.device))
        except BaseException:
            self.close()
            raise

    def follow(self, duration_s: float | None = None) -> Iterator[Message]:
        """Give messages as they come, until a time is over or the device has gone.

        :param duration_s: in seconds; None for as long as it is attached.
        :raise StateError: when an update brings an object that says nothing.
        """
        end_s = None if duration_s is None else time.monotonic() + duration_s
        while True:
            self._source.listen(on=True)
            left_s = _LOOK_S if end_s is None else min(_LOOK_S, end_s - time.monotonic())
            over = left_s <= 0 or not self._is_attached()
            if over:
                self._source.listen(on=False)
            for record in self._source.ring.records(0 if over else left_s):
                yield _message(record)
                if end_s is not None and time.monotonic() >= end_s:
                    break
            self.lost += self._source.newly_lost()
            if over:
                return
            self._follow_update()

    def _is_attached(self) -> bool:
        try:
            return status(self._store, self._home, self.device).attached
        except (StateError, BadFileError):
            return False

    def _follow_update(self) -> None:
        """Go on with another ring, where an update has brought one."""
        if self._is_attached() and not self._source.is_current():
            self._source.close()
            self._source = self._stack.enter_context(_Source(self._store, self._home, self.device))

    def close(self) -> None:
        """Listen no more: the programs say nothing from now on. Twice is fine."""
        self._stack.close()


class _Source(Closing):
    """The ring and the flag of a device, as they are pinned now."""

    def __init__(self, store: Store, home: str, device: str) -> None:
        self._pins = store.pins(home, device)
        self._stack = contextlib.ExitStack()
        self._on = False
        try:
            found = self._open(RING), self._open(SECTION)
            if found[0] is None or found[1] is None:
                raise StateError(
                    f"device {device} of VM {shown(store.name_of(home))} says nothing: "
                    "its object calls no kvmbpf_log()"
                )
            self._id, self._variables = found[0].id, found[1].globals
            self.ring = self._stack.enter_context(RingBuffer(found[0]))
            self._lost: int = self._variables[_LOST]
        except BaseException:
            self.close()
            raise

    def _open(self, state: str) -> BpfMap | None:
        found = self._pins.open_map(state)
        return None if found is None else self._stack.enter_context(found)

    def listen(self, *, on: bool) -> None:
        """Have the programs speak, or not."""
        self._on = on
        self._variables[_FLAG] = int(on)

    def newly_lost(self) -> int:
        """Return how many messages found no room since the last call."""
        before, self._lost = self._lost, self._variables[_LOST]
        return (self._lost - before) % (1 << 32)

    def is_current(self) -> bool:
        """Tell whether this ring is still the one that is pinned."""
        found = self._pins.open_map(RING)
        if found is None:
            return False
        with found:
            return found.id == self._id

    def close(self) -> None:
        if self._on:
            self.listen(on=False)
        self._stack.close()


def _message(record: bytes) -> Message:
    time_ns, length, _, text = _RECORD.unpack(record[: _RECORD.size])
    return Message(time_ns, text[: min(length, len(text))].decode(errors="replace"))
