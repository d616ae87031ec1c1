# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo device, register by register: its source, compiled for this machine."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import reduce

import pytest

from kvmbpf.author.compile import SHIPPED
from kvmbpf.testing import Device, Irq

ID, VERSION, COUNTER, DOORBELL, CONTROL, DOORBELLS = 0x00, 0x04, 0x08, 0x10, 0x14, 0x18
EVENTS, ENABLE, TICK_US, TICKS = 0x20, 0x24, 0x28, 0x30
RING_BASE, RING_SIZE, RING_FILL, RING_TAIL, RING_STATUS = 0x38, 0x40, 0x44, 0x48, 0x4C
DECLINED = 0x80

ON, BUSY, FAILED = 1, 2, 4
RING, TICK = 1, 2
EDGE, LEVEL = 0, 1
MS = 1_000_000
BASE = 0x1000
HEAD_BYTES = RECORD_BYTES = 32


@pytest.fixture
def dev() -> Iterator[Device]:
    with Device(SHIPPED / "demo" / "demo_v1.bpf.c", memory=0x10000) as found:
        yield found


def set_up_ring(dev: Device, size: int = 8, base: int = BASE) -> None:
    dev.poke(RING_BASE, base, 8)
    dev.poke(RING_SIZE, size)
    dev.poke(ENABLE, RING | TICK)


def head(dev: Device) -> int:
    return int(struct.unpack_from("<I", dev.memory, BASE)[0])


def records(dev: Device, size: int) -> list[tuple[int, ...]]:
    """Return what is in the ring's places, checked: sequence, time, version, ticks."""
    found = []
    for place in range(size):
        words = struct.unpack_from("<8I", dev.memory, BASE + HEAD_BYTES + place * RECORD_BYTES)
        fields = struct.unpack_from("<QQIIII", dev.memory, BASE + HEAD_BYTES + place * RECORD_BYTES)
        if fields[0]:
            fnv = reduce(lambda s, w: (s ^ w) * 0x01000193 & 0xFFFFFFFF, words[:7], 0x811C9DC5)
            assert fnv == fields[5]
        found.append(fields[:4])
    return found


def test_identity(dev: Device) -> None:
    assert (dev.peek(ID), dev.peek(VERSION)) == (0x6B766D62, 1)
    with Device(SHIPPED / "demo" / "demo_v2.bpf.c") as other:
        assert (other.peek(ID), other.peek(VERSION)) == (0x6B766D62, 2)


def test_counter_says_version_generation_and_number_under_a_checksum(dev: Device) -> None:
    dev.globals["counter"] = 0x1_FFFF_FFFE
    dev.globals["generation"] = 0x54321
    for number in (0xFFFFFFFF, 0, 1):
        reply = dev.peek(COUNTER, 8)
        assert reply >> 56 == 1
        assert reply >> 32 & 0xFFFF == 0x4321
        assert reply & 0xFFFFFFFF == number
        data = (reply & 0xFFFFFFFFFFFF).to_bytes(6, "little")
        assert reply >> 48 & 0xFF == reduce(lambda a, b: a ^ b, data, 1 ^ 0x5A)


@pytest.mark.parametrize(("offset", "size"), [(ID, 8), (COUNTER, 4), (2, 2), (0x50, 4), (0x7F, 1)])
def test_what_is_no_register_reads_0(dev: Device, offset: int, size: int) -> None:
    dev.poke(offset, 0xFF, size)
    assert dev.peek(offset, size) == 0
    assert (dev.globals["reads"], dev.globals["writes"]) == (1, 1)


@pytest.mark.parametrize("offset", [DECLINED, 0xFFC])
def test_the_rest_is_declined(dev: Device, offset: int) -> None:
    assert dev.try_peek(offset).declined
    assert dev.try_poke(offset, 1).declined
    assert dev.globals["declined"] == 2
    assert (dev.globals["reads"], dev.globals["writes"]) == (0, 0)


def test_each_doorbell_is_an_edge(dev: Device) -> None:
    for value in (0, 1, 0xFFFFFFFF):
        dev.poke(DOORBELL, value)
    assert dev.irqs == [Irq(EDGE, 1)] * 3
    assert dev.peek(DOORBELLS, 8) == dev.globals["irqs"] == 3


def test_the_tick_comes_again_until_it_is_off(dev: Device) -> None:
    dev.poke(TICK_US, 5000)
    assert dev.advance(4 * MS) == 0
    assert dev.advance(11 * MS) == 3
    assert dev.peek(TICKS, 8) == 3
    dev.poke(TICK_US, 0)
    assert (dev.advance(100 * MS), dev.peek(TICKS, 8), dev.peek(TICK_US)) == (0, 3, 0)


def test_a_tick_is_not_too_fast(dev: Device) -> None:
    dev.poke(TICK_US, 1)
    assert dev.peek(TICK_US) == 1000
    assert dev.advance(10 * MS) == 10


def test_events_hold_the_line_up_until_they_are_cleared(dev: Device) -> None:
    dev.poke(TICK_US, 1000)
    dev.advance(2 * MS)
    assert (dev.peek(EVENTS), dev.level(LEVEL)) == (TICK, 0)  # pending, not enabled
    dev.poke(ENABLE, TICK)
    assert dev.level(LEVEL) == 1
    dev.poke(EVENTS, RING)  # another one
    assert (dev.peek(EVENTS), dev.level(LEVEL)) == (TICK, 1)
    dev.poke(EVENTS, TICK)
    assert (dev.peek(EVENTS), dev.level(LEVEL)) == (0, 0)
    dev.advance(MS)
    assert (dev.peek(EVENTS), dev.level(LEVEL)) == (TICK, 1)
    dev.poke(ENABLE, 0xFFFFFFFC)
    assert (dev.peek(ENABLE), dev.level(LEVEL)) == (0, 0)
    assert dev.globals["tick_events"] == 2


def test_the_ring_is_filled_in_order(dev: Device) -> None:
    set_up_ring(dev)
    dev.poke(RING_FILL, 3)
    assert (dev.peek(RING_STATUS), head(dev)) == (ON, 0)
    dev.run_works()
    assert [record[0] for record in records(dev, 8)] == [1, 2, 3, 0, 0, 0, 0, 0]
    assert (head(dev), dev.peek(EVENTS), dev.level(LEVEL)) == (3, RING, 1)
    assert {record[2] for record in records(dev, 3)} == {1}
    assert dev.globals["ring_wanted"] == 0


def test_a_full_ring_waits_for_the_tail(dev: Device) -> None:
    set_up_ring(dev)
    dev.poke(RING_FILL, 20)
    dev.run_works()
    assert (head(dev), dev.globals["ring_wanted"]) == (8, 12)
    dev.poke(RING_TAIL, 5)
    dev.run_works()
    assert (head(dev), dev.globals["ring_wanted"]) == (13, 7)
    assert [record[0] for record in records(dev, 8)] == [9, 10, 11, 12, 13, 6, 7, 8]
    dev.poke(RING_TAIL, 13)
    dev.run_works()
    assert (head(dev), dev.peek(RING_TAIL)) == (20, 13)


def test_more_than_one_batch_is_written_at_one_go(dev: Device) -> None:
    set_up_ring(dev, 256)
    dev.poke(RING_FILL, 200)
    dev.run_works()
    assert head(dev) == 200
    assert [record[0] for record in records(dev, 200)] == list(range(1, 201))


@pytest.mark.parametrize("tail", [9, 0x80000000])
def test_a_tail_beyond_the_head_stops_the_ring(dev: Device, tail: int) -> None:
    set_up_ring(dev)
    dev.poke(RING_TAIL, tail)
    dev.poke(RING_FILL, 1)
    dev.run_works()
    assert (head(dev), dev.globals["ring_wanted"]) == (0, 1)


@pytest.mark.parametrize("size", [1, 3, 257, 512, 0xFFFFFFFF])
def test_a_size_that_cannot_be_leaves_the_ring_off(dev: Device, size: int) -> None:
    dev.poke(RING_SIZE, size)
    assert (dev.peek(RING_SIZE), dev.peek(RING_STATUS)) == (0, 0)
    dev.poke(RING_FILL, 1)
    assert dev.works == []


def test_a_ring_that_is_on_is_not_set_up_anew(dev: Device) -> None:
    set_up_ring(dev)
    dev.poke(RING_BASE, 0x8000, 8)
    dev.poke(RING_SIZE, 16)
    assert (dev.peek(RING_BASE, 8), dev.peek(RING_SIZE)) == (BASE, 8)


def test_nor_is_one_that_is_busy(dev: Device) -> None:
    dev.poke(RING_BASE, BASE, 8)
    dev.globals["ring_busy"] = 1
    dev.poke(RING_BASE, 0x8000, 8)
    dev.poke(RING_SIZE, 8)
    assert (dev.peek(RING_BASE, 8), dev.peek(RING_SIZE)) == (BASE, 0)
    assert dev.peek(RING_STATUS) == BUSY


def test_a_new_ring_begins_anew(dev: Device) -> None:
    set_up_ring(dev)
    dev.poke(RING_FILL, 5)
    dev.run_works()
    dev.poke(RING_SIZE, 0)
    dev.poke(RING_FILL, 5)
    assert dev.peek(RING_STATUS) == 0
    dev.memory[:] = bytes(len(dev.memory))
    set_up_ring(dev, 4)
    assert (dev.peek(RING_TAIL), dev.globals["ring_wanted"]) == (0, 0)
    dev.poke(RING_FILL, 2)
    dev.run_works()
    assert [record[0] for record in records(dev, 4)] == [1, 2, 0, 0]


def test_nothing_is_written_after_the_ring_has_ended(dev: Device) -> None:
    set_up_ring(dev)
    dev.poke(RING_FILL, 5)
    dev.poke(RING_SIZE, 0)
    before = bytes(dev.memory)
    dev.run_works()
    assert bytes(dev.memory) == before
    assert dev.peek(RING_STATUS) == 0


def test_memory_that_is_not_there_is_reported(dev: Device) -> None:
    set_up_ring(dev, base=0x100000)
    dev.poke(RING_FILL, 5)
    dev.run_works()
    assert dev.peek(RING_STATUS) == ON | FAILED
    assert (dev.peek(EVENTS), dev.level(LEVEL)) == (RING, 1)
    dev.poke(RING_SIZE, 0)
    set_up_ring(dev)
    assert dev.peek(RING_STATUS) == ON


def test_wishes_do_not_overflow(dev: Device) -> None:
    set_up_ring(dev)
    for _ in range(3):
        dev.poke(RING_FILL, 0xFFFFFFFF)
    assert dev.globals["ring_wanted"] == 1 << 24


@pytest.mark.parametrize("by", ["register", "vmm"])
def test_a_reset_is_as_power_on(dev: Device, by: str) -> None:
    set_up_ring(dev)
    dev.poke(TICK_US, 1000)
    dev.poke(DOORBELL, 1)
    dev.poke(RING_FILL, 5)
    dev.peek(COUNTER, 8)
    dev.advance(3 * MS)
    assert dev.level(LEVEL) == 1
    if by == "register":
        dev.poke(CONTROL, 1)
    else:
        dev.reset()
    assert dev.level(LEVEL) == 0
    assert [dev.peek(reg) for reg in (EVENTS, ENABLE, TICK_US, RING_SIZE, RING_STATUS)] == [0] * 5
    assert (dev.peek(DOORBELLS, 8), dev.peek(TICKS, 8), dev.peek(COUNTER, 8) & 0xFF) == (0, 0, 1)
    assert (dev.advance(10 * MS), dev.run_works()) == (0, 0)
    # The host's own counts go on.
    assert (dev.globals["irqs"], dev.globals["resets"]) == (1, 1)


def test_control_without_the_bit_does_nothing(dev: Device) -> None:
    dev.poke(CONTROL, 0xFFFFFFFE)
    assert dev.globals["resets"] == 0


def test_a_version_that_takes_over_says_so_once(dev: Device) -> None:
    """As the state is when version 2 was at work before."""
    dev.globals["answering"] = 2
    dev.globals["tick_ns"] = 5 * MS
    dev.peek(VERSION)
    assert (dev.globals["generation"], dev.timers) == (1, {})
    dev.poke(EVENTS, 0)  # the first write starts the timer by this version's body
    assert list(dev.timers) == ["tick"]
    dev.poke(EVENTS, 0)
    assert (dev.globals["generation"], dev.globals["take_over"]) == (1, 0)


def test_it_says_what_happens(dev: Device) -> None:
    set_up_ring(dev)
    dev.poke(CONTROL, 1)
    assert any("ring at 1000: 8 records" in line for line in dev.log)
    assert any("reset 1" in line for line in dev.log)
