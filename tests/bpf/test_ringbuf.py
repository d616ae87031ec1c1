# SPDX-License-Identifier: GPL-2.0-or-later
"""Ring buffers: order, waiting, signals, overflow, and one reader only."""

from __future__ import annotations

import itertools
import os
import select
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

import kvmbpf
from kvmbpf.errors import StateError
from kvmbpf.kernel.libbpf.map import BpfMap
from kvmbpf.kernel.libbpf.object import BpfObject
from kvmbpf.kernel.libbpf.ringbuf import RingBuffer
from tests import fake_libbpf

from .conftest import Compile

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("no_fd_leak")]

RECORD_BYTES = 8 + 32  # with the ring's own header
ROOM = 4096 // RECORD_BYTES


@contextmanager
def loaded(build: Compile) -> Iterator[BpfObject]:
    with BpfObject.open(build("ring")) as obj:
        obj.load()
        yield obj


def send(obj: BpfObject, count: int, discard: int = 0) -> None:
    assert obj.program("send").test_run(struct.pack("=II", count, discard)).result == 0


def numbers(records: Iterator[bytes]) -> list[int]:
    return [struct.unpack_from("=Q", record)[0] for record in records]


def test_records_come_whole_and_in_order(build: Compile) -> None:
    with loaded(build) as obj, RingBuffer(obj.map("ring")) as ring:
        assert list(ring.records(timeout_s=0)) == []
        send(obj, 3)
        assert list(ring.records(timeout_s=0)) == [
            struct.pack("=Q", number) + b"a record of 32 bytes all" for number in range(3)
        ]
        assert list(ring.records(timeout_s=0)) == []
        assert ring.dropped is None


def test_discarded_records_are_passed_over(build: Compile) -> None:
    with loaded(build) as obj, RingBuffer(obj.map("ring")) as ring:
        send(obj, 7, discard=3)
        assert numbers(ring.records(timeout_s=0)) == [1, 2, 4, 5]


def test_leaving_the_loop_loses_nothing(build: Compile) -> None:
    with loaded(build) as obj, RingBuffer(obj.map("ring")) as ring:
        send(obj, 10)
        assert numbers(itertools.islice(ring.records(), 4)) == [0, 1, 2, 3]
        send(obj, 2)
        assert numbers(ring.records(timeout_s=0)) == list(range(4, 12))


def test_a_later_reader_goes_on_where_the_last_one_ended(build: Compile) -> None:
    with loaded(build) as obj:
        with RingBuffer(obj.map("ring")) as ring:
            send(obj, 2)
            assert numbers(ring.records(timeout_s=0)) == [0, 1]
        send(obj, 2)
        with RingBuffer(obj.map("ring")) as ring:
            assert numbers(ring.records(timeout_s=0)) == [2, 3]


def test_what_found_no_room_is_counted_by_the_program(build: Compile) -> None:
    with (
        loaded(build) as obj,
        RingBuffer(obj.map("ring"), dropped=lambda: int(obj.globals["dropped"])) as ring,
    ):
        send(obj, ROOM + 5)
        assert ring.dropped is not None
        kept = numbers(ring.records(timeout_s=0))
        assert kept == list(range(len(kept)))
        assert len(kept) + ring.dropped == ROOM + 5
        assert ring.dropped >= 5
        before = ring.dropped
        send(obj, 3)
        assert numbers(ring.records(timeout_s=0)) == [len(kept), len(kept) + 1, len(kept) + 2]
        assert ring.dropped == before


def test_a_waiting_reader_is_woken(build: Compile) -> None:
    with loaded(build) as obj, RingBuffer(obj.map("ring")) as ring:
        thread = threading.Timer(0.05, send, (obj, 2))
        thread.start()
        assert numbers(itertools.islice(ring.records(timeout_s=60), 2)) == [0, 1]
        thread.join()


def test_its_descriptor_tells_that_there_are_records(build: Compile) -> None:
    with loaded(build) as obj, RingBuffer(obj.map("ring")) as ring:
        assert select.select([ring], [], [], 0) == ([], [], [])
        send(obj, 1)
        assert select.select([ring], [], [], 0) == ([ring], [], [])


def test_no_record_is_lost_or_torn_beside_a_busy_program(build: Compile) -> None:
    with loaded(build) as obj, RingBuffer(obj.map("ring")) as ring:
        done = threading.Event()

        def produce() -> None:
            for _ in range(200):
                send(obj, 100)
            done.set()

        thread = threading.Thread(target=produce)
        thread.start()
        seen: list[int] = []
        while not done.is_set():
            seen += numbers(ring.records(timeout_s=0.01))
        thread.join()
        seen += numbers(ring.records(timeout_s=0))
        assert seen == list(range(obj.globals["sent"]))
        assert obj.globals["sent"] + obj.globals["dropped"] == 20000


class _AlarmError(Exception):
    pass


@contextmanager
def alarms(handler: object) -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, handler)  # type: ignore[arg-type]
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_signal_does_not_end_the_wait(build: Compile) -> None:
    with loaded(build) as obj, RingBuffer(obj.map("ring")) as ring:
        came = 0

        def handler(_number: int, _frame: FrameType | None) -> None:
            nonlocal came
            came += 1
            if came == 3:
                send(obj, 1)

        with alarms(handler):
            assert numbers(itertools.islice(ring.records(), 1)) == [0]
        assert came >= 3


def test_a_handler_that_raises_ends_the_wait_and_loses_nothing(build: Compile) -> None:
    with loaded(build) as obj, RingBuffer(obj.map("ring")) as ring:

        def handler(_number: int, _frame: FrameType | None) -> None:
            raise _AlarmError

        with pytest.raises(_AlarmError), alarms(handler):
            next(ring.records())
        send(obj, 2)
        assert numbers(ring.records(timeout_s=0)) == [0, 1]


def test_a_second_reader_is_refused(build: Compile) -> None:
    with loaded(build) as obj:
        with RingBuffer(obj.map("ring")) as ring:
            with pytest.raises(StateError, match="ring buffer ring has a reader already"):
                RingBuffer(obj.map("ring"))
            send(obj, 1)
            assert numbers(ring.records(timeout_s=0)) == [0]
        RingBuffer(obj.map("ring")).close()


READ = """
import sys
from kvmbpf.errors import StateError
from kvmbpf.kernel.libbpf import BpfMap, RingBuffer

with BpfMap.open_pinned(sys.argv[1]) as found:
    try:
        with RingBuffer(found) as ring:
            print(len(list(ring.records(timeout_s=0))))
    except StateError as error:
        print(error)
"""


def test_another_process_reads_through_a_pin_when_nobody_does(build: Compile, bpffs: Path) -> None:
    command = [sys.executable, "-c", READ, str(bpffs / "ring")]

    def read() -> str:
        root = Path(kvmbpf.__file__).parents[1]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=root)
        return done.stdout

    with loaded(build) as obj:
        obj.map("ring").pin(bpffs / "ring")
        with RingBuffer(obj.map("ring")):
            assert read().startswith("ring buffer ring has a reader already")
        send(obj, 4)
        assert read() == "4\n"
        assert read() == "0\n"


def test_the_map_may_be_closed_before(build: Compile, bpffs: Path) -> None:
    with loaded(build) as obj:
        obj.map("ring").pin(bpffs / "ring")
        with BpfMap.open_pinned(bpffs / "ring") as found:
            ring = RingBuffer(found)
        os.unlink(bpffs / "ring")  # noqa: PTH108
        with ring:
            send(obj, 1)
            assert numbers(ring.records(timeout_s=0)) == [0]
            obj.close()
            assert numbers(ring.records(timeout_s=0)) == []


def test_a_closed_reader_is_refused(build: Compile) -> None:
    with loaded(build) as obj:
        ring = RingBuffer(obj.map("ring"))
        waiting = ring.records()
        ring.close()
        ring.close()
        for use in (lambda: next(waiting), lambda: next(ring.records()), ring.fileno):
            with pytest.raises(StateError, match="ring buffer ring is closed"):
                use()


def test_what_is_no_ring_buffer_is_refused(build: Compile) -> None:
    with loaded(build) as obj, pytest.raises(StateError, match="map other is no ring buffer"):
        RingBuffer(obj.map("other"))
    with (
        BpfObject.open(build("ring")) as obj,
        pytest.raises(StateError, match="map ring is not loaded"),
    ):
        RingBuffer(obj.map("ring"))


FIRST_USE = """
import sys
from kvmbpf.errors import UnsupportedError
from kvmbpf.kernel.libbpf import BpfObject, RingBuffer

with BpfObject.open(sys.argv[1]) as obj:
    obj.load()
    try:
        RingBuffer(obj.map("ring"))
    except UnsupportedError as error:
        print(error)
"""


def test_a_libbpf_that_cannot_read_rings_is_told_at_first_use(
    build: Compile, tmp_path: Path
) -> None:
    library = fake_libbpf.make(tmp_path, 1, 1, without=["ring_buffer__new"])
    out = fake_libbpf.run_with(library, FIRST_USE, build("ring"))
    assert out.startswith("libbpf: found 1.1 without ring_buffer__new(), needed one that has it; ")
