# SPDX-License-Identifier: GPL-2.0-or-later
"""Two devices that take more than registers: a virtqueue, and a timer for many.

Written, as those of test_devices.py, from the header and its docs; used
as virtio_mmio.c and vcpu_stall_detector.c do.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from kvmbpf.testing import Device
from tests.kit import SOURCES

SECOND = 1_000_000_000

DESCRIPTORS, AVAILABLE, USED, BUFFERS = 0x1000, 0x2000, 0x3000, 0x4000
NUMBER = 8
WRITE = 2


class Driver:
    """The driver's side of a virtio-mmio device with one queue."""

    def __init__(self, dev: Device) -> None:
        self.dev = dev
        self.next = 0

    def start(self) -> None:
        """As virtio_mmio.c does: find the device, agree on features, give the queue."""
        dev = self.dev
        assert dev.peek(0x000) == int.from_bytes(b"virt", "little")
        assert (dev.peek(0x004), dev.peek(0x008)) == (2, 4)
        dev.poke(0x070, 0)
        dev.poke(0x070, 1 | 2)
        dev.poke(0x014, 1)
        assert dev.peek(0x010) == 1  # VIRTIO_F_VERSION_1
        dev.poke(0x070, 1 | 2 | 8)
        dev.poke(0x030, 0)
        assert dev.peek(0x034) >= NUMBER
        dev.poke(0x038, NUMBER)
        for offset, address in ((0x080, DESCRIPTORS), (0x090, AVAILABLE), (0x0A0, USED)):
            dev.poke(offset, address)
            dev.poke(offset + 4, 0)
        dev.poke(0x044, 1)
        dev.poke(0x070, 1 | 2 | 8 | 4)

    def give(self, size: int, *, address: int | None = None, flags: int = WRITE) -> int:
        """Make a buffer available; return its address."""
        index = self.next % NUMBER
        address = BUFFERS + index * 0x100 if address is None else address
        struct.pack_into(
            "<QIHH", self.dev.memory, DESCRIPTORS + 16 * index, address, size, flags, 0
        )
        struct.pack_into("<H", self.dev.memory, AVAILABLE + 4 + 2 * index, index)
        self.next += 1
        struct.pack_into("<H", self.dev.memory, AVAILABLE + 2, self.next & 0xFFFF)
        return address

    def used(self) -> tuple[int, list[tuple[int, int]]]:
        """Return the used index and the ring."""
        memory = self.dev.memory
        (index,) = struct.unpack_from("<H", memory, USED + 2)
        return index, [struct.unpack_from("<II", memory, USED + 4 + 8 * i) for i in range(NUMBER)]


@pytest.fixture
def driver() -> Iterator[Driver]:
    with Device(SOURCES / "virtio_rng.bpf.c", memory=0x10000) as dev:
        found = Driver(dev)
        found.start()
        yield found


def test_buffers_are_filled_and_used(driver: Driver) -> None:
    dev = driver.dev
    first, second = driver.give(16), driver.give(200)
    dev.poke(0x050, 0)
    assert any(dev.memory[first : first + 16])
    assert not any(dev.memory[first + 16 : second])
    index, ring = driver.used()
    assert (index, ring[:2]) == (2, [(0, 16), (1, 64)])
    assert (dev.level(0), dev.peek(0x060)) == (1, 1)
    dev.poke(0x064, 1)
    assert (dev.level(0), dev.peek(0x060)) == (0, 0)


def test_the_queue_goes_round(driver: Driver) -> None:
    for _ in range(70_000 // 7):
        for _ in range(7):
            driver.give(1)
        driver.dev.poke(0x050, 0)
    assert driver.used()[0] == 70_000 & 0xFFFF
    assert driver.dev.globals["buffers"] == 70_000


def test_a_notification_of_nothing_does_nothing(driver: Driver) -> None:
    driver.dev.poke(0x050, 0)
    assert (driver.used()[0], driver.dev.level(0)) == (0, 0)


def test_a_buffer_that_is_no_memory_needs_a_reset(driver: Driver) -> None:
    dev = driver.dev
    driver.give(16, address=0xFFF8)
    dev.poke(0x050, 0)
    assert dev.peek(0x070) & 0x40
    assert (dev.level(0), driver.used()[0]) == (1, 0)
    dev.poke(0x070, 0)
    assert (dev.peek(0x070), dev.level(0)) == (0, 0)


def test_a_queue_in_no_memory_needs_a_reset(driver: Driver) -> None:
    dev = driver.dev
    dev.poke(0x094, 0xFFFFFFFF)
    driver.give(16)
    dev.poke(0x050, 0)
    assert dev.peek(0x070) & 0x40
    dev.reset()
    assert dev.peek(0x070) == 0


@pytest.fixture
def detector() -> Iterator[Device]:
    with Device(SOURCES / "stall_detector.bpf.c", vcpus=64) as dev:
        yield dev


def pet(detector: Device, vcpu: int, ticks: int) -> None:
    """As the driver does for each CPU that comes up."""
    detector.poke(vcpu * 0x10 + 0x0C, 10, vcpu=vcpu)
    detector.poke(vcpu * 0x10 + 0x04, ticks, vcpu=vcpu)
    detector.poke(vcpu * 0x10 + 0x00, 1, vcpu=vcpu)


def test_a_vcpu_that_pets_does_not_stall(detector: Device) -> None:
    pet(detector, 0, 80)
    for _ in range(10):
        detector.advance(4 * SECOND)
        assert detector.peek(0x08) == 40
        detector.poke(0x04, 80)
    assert (detector.globals["stalls"], detector.irqs) == (0, [])


def test_a_stalled_vcpu_is_told_among_others(detector: Device) -> None:
    pet(detector, 0, 80)
    pet(detector, 63, 20)
    assert detector.advance(2 * SECOND) == 1
    assert (detector.globals["stalled_vcpu"], detector.level(0)) == (63, 1)
    assert detector.log == ["vcpu 63 has stalled"]
    assert detector.timers == {"check": 6 * SECOND}
    detector.advance(6 * SECOND)
    assert (detector.globals["stalls"], detector.timers) == (2, {})


def test_a_vcpu_that_is_taken_out_does_not_stall(detector: Device) -> None:
    pet(detector, 5, 20)
    detector.poke(0x50, 0)
    assert detector.timers == {}
    assert detector.advance(100 * SECOND) == 0


def test_the_detector_is_sparse_beyond_its_vcpus(detector: Device) -> None:
    assert detector.try_peek(64 * 0x10).declined
    assert detector.try_poke(0, 1, 1).declined
    assert detector.maps["countdowns"][0]["enabled"] == 0
