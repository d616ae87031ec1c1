# SPDX-License-Identifier: GPL-2.0-or-later
"""Time, timers and works of a natively compiled device, run by hand."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from kvmbpf.errors import StateError
from kvmbpf.testing import Device
from tests.kit import KIT, Op

START = 1_000_000_000


@pytest.fixture
def dev() -> Iterator[Device]:
    with Device(KIT, memory=64) as device:
        yield device


def test_time_passes_by_hand_only(dev: Device) -> None:
    assert dev.peek(Op.CLOCK, 8) == dev.peek(Op.CLOCK, 8) == dev.now_ns == START
    assert dev.advance(5) == 0
    assert dev.peek(Op.CLOCK, 8) == START + 5
    with pytest.raises(StateError, match=r"time does not go back: advance\(-1\)"):
        dev.advance(-1)


def test_time_begins_where_it_is_told_to() -> None:
    with Device(KIT, now_ns=7) as dev:
        dev.tai_offset_ns = 100
        assert dev.peek(Op.CLOCK, 8) == 7
        assert dev.peek(Op.TAI, 8) == 107
        assert dev.tai_offset_ns == 100


def test_a_timer_runs_once_at_its_time(dev: Device) -> None:
    dev.poke(Op.TIMER, 10, 8)
    assert dev.timers == {"tick": 10}
    assert dev.advance(9) == 0
    assert (dev.globals["ticks"], dev.irqs) == (0, [])
    assert dev.advance(1) == 1
    assert (dev.globals["ticks"], dev.irqs) == (1, [(0, 1)])
    assert dev.timers == {}
    assert dev.advance(1000) == 0


def test_a_timer_that_is_started_again_runs_at_the_new_time(dev: Device) -> None:
    dev.poke(Op.TIMER, 10, 8)
    dev.advance(5)
    dev.poke(Op.TIMER, 10, 8)
    assert dev.timers == {"tick": 10}
    assert dev.advance(9) == 0
    assert dev.advance(1) == 1


def test_a_timer_that_starts_itself_ticks(dev: Device) -> None:
    dev.globals["timer_delay"] = 3
    dev.poke(Op.TIMER, 3, 8)
    assert dev.advance(10) == 3
    assert (dev.globals["ticks"], dev.timers) == (3, {"tick": 2})


def test_a_cancelled_timer_does_not_run(dev: Device) -> None:
    dev.poke(Op.TIMER_CANCEL, 0)
    assert dev.globals["result"] == 0
    dev.poke(Op.TIMER, 10, 8)
    dev.poke(Op.TIMER_CANCEL, 0)
    assert dev.globals["result"] == 1
    assert dev.advance(100) == 0


def test_a_timer_cannot_cancel_itself(dev: Device) -> None:
    dev.poke(Op.TIMER, 10, 8)
    dev.advance(10)
    assert dev.globals["result"] == -errno.EDEADLK


def test_timers_run_in_the_order_of_their_times(dev: Device) -> None:
    dev.poke(Op.TIMER, 20, 8)
    dev.poke(Op.OTHER_TIMER, 10, 8)
    assert list(dev.timers) == ["other", "tick"]
    assert dev.advance(10) == 2  # the other starts the tick anew, at once
    assert dev.globals["ticks"] == 1
    assert dev.now_ns == START + 10


def test_only_an_access_starts_a_timer_for_the_first_time(dev: Device) -> None:
    dev.poke(Op.OTHER_TIMER, 10, 8)
    assert dev.advance(10) == 1
    assert dev.globals["result"] == -errno.ENODEV
    dev.globals["flag"] = True
    dev.reset()
    assert dev.globals["result"] == -errno.ENODEV
    dev.poke(Op.TIMER, 1, 8)
    dev.advance(1)
    dev.reset()
    assert (dev.globals["result"], dev.timers) == (0, {"tick": 5})


def test_a_timer_that_goes_on_at_once_is_stopped() -> None:
    with Device(KIT) as dev:
        dev.globals["timer_delay"] = 1
        dev.poke(Op.TIMER, 1, 8)
        assert dev.advance(20_000) == 20_000  # each at a time of its own


def test_a_work_runs_before_time_passes(dev: Device) -> None:
    dev.globals["gpa"] = 8
    dev.memory[8:16] = b"abcdefgh"
    dev.poke(Op.WORK, 0)
    dev.poke(Op.WORK, 0)  # the same one
    assert (dev.works, dev.globals["works"]) == (["copy"], 0)
    assert dev.run_works() == 1
    assert (dev.works, dev.globals["works"], dev.now_ns) == ([], 1, START)
    assert dev.memory[16:24] == b"abcdefgh"
    assert (dev.level(1), dev.irqs) == (1, [(1, 1)])
    assert dev.run_works() == 0


def test_a_work_that_fails_says_so(dev: Device) -> None:
    dev.globals["gpa"] = 56
    dev.poke(Op.WORK, 0)
    assert dev.advance(0) == 1
    assert dev.globals["result"] == -errno.EFAULT  # the second half is not there


def test_a_timer_starts_a_work_that_an_access_has_started_before(dev: Device) -> None:
    dev.globals["flag"] = True
    dev.poke(Op.TIMER, 1, 8)
    assert dev.advance(1) == 1
    assert dev.globals["works"] == 0
    dev.poke(Op.WORK, 0)
    dev.poke(Op.TIMER, 1, 8)
    assert dev.advance(1) == 3
    assert dev.globals["works"] == 2
