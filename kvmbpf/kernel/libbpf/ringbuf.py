# SPDX-License-Identifier: GPL-2.0-or-later
"""Ring buffers: records that programs send, in their order, read by one reader.

    with RingBuffer(obj.map("events")) as ring:
        for record in ring.records(timeout_s=1.0):
            ...

How far a ring was read is kept in the ring itself, so a second reader would
tear records from the first: it is refused, in this process and in any other that
uses this class (and shares the network namespace, in which the reader's claim, an
abstract socket's name, is known). A later reader goes on where the last one ended.

A program that finds the ring full gets no room, and what it had to say is lost;
the kernel does not count that, a program may.

Source: kernel/bpf/ringbuf.c, v6.12; tools/lib/bpf/ringbuf.c, which does the reading.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
from collections import deque
from collections.abc import Callable, Iterator

from kvmbpf.closing import Closing
from kvmbpf.errors import KernelCallError, StateError
from kvmbpf.kernel.fd import OwnedFd
from kvmbpf.kernel.libbpf.lib import call_failed, libbpf
from kvmbpf.kernel.libbpf.map import BpfMap
from kvmbpf.kernel.libbpf.protos import RingFn
from kvmbpf.kernel.uapi import bpf as uapi

_BATCH = 512  # records to take out at once: a busy program must not keep us in libbpf


def _claim(ring: BpfMap) -> socket.socket:
    """Become the one reader of a ring; closing the socket gives it up."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0kvmbpf-ring-{ring.id}")
    except OSError as error:
        claim.close()
        if error.errno == errno.EADDRINUSE:
            raise StateError(
                f"ring buffer {ring.name} has a reader already: end that one first"
            ) from error
        raise KernelCallError(f"bind(claim of ring {ring.name})", error.errno or 0) from error
    return claim


class RingBuffer(Closing):
    """The reader of a ring buffer.

    :param ring: the map, of a loaded object or from a pin; it may be closed afterwards.
    :param dropped: gives the number of records that found no room, where a
        program counts them, as in ``lambda: obj.globals["dropped"]``.
    :raise StateError: when the map is no ring buffer, has a reader already, or
        is closed.
    :raise UnsupportedError: when libbpf cannot read ring buffers.
    :raise KernelCallError: when the kernel refuses.
    """

    def __init__(self, ring: BpfMap, dropped: Callable[[], int] | None = None) -> None:
        if ring.type != uapi.BPF_MAP_TYPE_RINGBUF:
            raise StateError(f"map {ring.name} is no ring buffer")
        new = libbpf().ring_buffer__new
        self.name = ring.name
        self._dropped = dropped
        self._taken: deque[bytes] = deque()
        self._failure: BaseException | None = None
        self._callback = RingFn(self._on_record)  # libbpf keeps its address
        self._claim = _claim(ring)
        self._ring: int | None = None
        self._fd: OwnedFd | None = None
        try:
            self._fd = OwnedFd(os.dup(ring.fd), f"ring buffer {ring.name}")
            self._ring = new(self._fd.fileno(), self._callback, None, None)
            if not self._ring:
                raise call_failed(f"ring_buffer__new({ring.name})", None)
        except BaseException:
            self.close()
            raise

    def _handle(self) -> int:
        if self._ring is None:
            raise StateError(f"ring buffer {self.name} is closed")
        return self._ring

    def _on_record(self, _context: int, data: int, size: int) -> int:
        """Take one record, called by libbpf; a negative result ends its round."""
        try:
            self._taken.append(ctypes.string_at(data, size))
        except BaseException as error:  # of a signal's handler, say: ctypes would drop it
            self._failure = error
            return -errno.EINTR
        return 0 if len(self._taken) < _BATCH else -errno.EAGAIN

    def records(self, timeout_s: float | None = None) -> Iterator[bytes]:
        """Give the records, oldest first, and wait for more.

        A signal interrupts the wait only where its handler raises; no record is
        lost then, nor when the loop is left: a later call goes on after the last
        record that was given.

        :param timeout_s: how long to wait for the next record, in seconds; 0 for
            those only that are there, None for no end.
        :return: each record's bytes.
        :raise StateError: when it is closed.
        :raise KernelCallError: when the kernel refuses.
        """
        while True:
            handle = self._handle()
            if self._taken:
                yield self._taken.popleft()
            elif self._take(handle) == 0 and not self._wait(handle, timeout_s):
                return

    def _take(self, handle: int) -> int:
        """Take out what is there, up to a batch; return how many records."""
        result: int = libbpf().ring_buffer__consume(handle)
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        if result < 0 and result != -errno.EAGAIN:
            raise call_failed(f"ring_buffer__consume({self.name})", result)
        return len(self._taken)

    def _wait(self, handle: int, timeout_s: float | None) -> bool:
        """Wait for a record; return whether there is one."""
        poller = select.poll()
        poller.register(libbpf().ring_buffer__epoll_fd(handle), select.POLLIN)
        try:
            return bool(poller.poll(None if timeout_s is None else timeout_s * 1000))
        except OSError as error:
            raise KernelCallError(f"poll({self.name})", error.errno or 0) from error

    @property
    def dropped(self) -> int | None:
        """How many records found no room; None where no program counts them."""
        return None if self._dropped is None else self._dropped()

    def fileno(self) -> int:
        """Return a descriptor (C ``int``) that is readable when there are records.

        :raise StateError: when it is closed.
        """
        return int(libbpf().ring_buffer__epoll_fd(self._handle()))

    def close(self) -> None:
        """End the reading; what was not read stays in the ring. Twice is fine."""
        handle, self._ring = self._ring, None
        if handle:
            libbpf().ring_buffer__free(handle)
        if self._fd is not None:
            self._fd.close()
        self._claim.close()

    def __repr__(self) -> str:
        return f"<RingBuffer {self.name}{': closed' if self._ring is None else ''}>"
