# SPDX-License-Identifier: GPL-2.0-or-later
"""Two devices that the kernel has drivers for, written from the header and its docs.

The registers are tried as rtc-goldfish.c and 8250_port.c use them.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kvmbpf.testing import AccessDeclined, Device
from tests.kit import SOURCES

SECOND = 1_000_000_000
EPOCH = 1_700_000_000 * SECOND

TIME_LOW, TIME_HIGH, ALARM_LOW, ALARM_HIGH = 0x00, 0x04, 0x08, 0x0C
IRQ_ENABLED, CLEAR_ALARM, ALARM_STATUS, CLEAR_INTERRUPT = 0x10, 0x14, 0x18, 0x1C


@pytest.fixture
def rtc() -> Iterator[Device]:
    with Device(SOURCES / "goldfish_rtc.bpf.c", now_ns=0) as dev:
        dev.tai_offset_ns = EPOCH
        yield dev


def read_time(rtc: Device) -> int:
    """As goldfish_rtc_read_time() does."""
    low = rtc.peek(TIME_LOW)
    return rtc.peek(TIME_HIGH) << 32 | low


def set_alarm(rtc: Device, time: int) -> None:
    """As goldfish_rtc_set_alarm() does."""
    rtc.poke(ALARM_HIGH, time >> 32)
    rtc.poke(ALARM_LOW, time & 0xFFFFFFFF)
    rtc.poke(IRQ_ENABLED, 1)


def test_rtc_tells_the_time(rtc: Device) -> None:
    assert read_time(rtc) == EPOCH
    rtc.advance(5 * SECOND)
    assert read_time(rtc) == EPOCH + 5 * SECOND


def test_rtc_time_does_not_tear(rtc: Device) -> None:
    rtc.tai_offset_ns = (1 << 32) - 1
    low = rtc.peek(TIME_LOW)
    rtc.advance(1)
    assert (rtc.peek(TIME_HIGH), low) == (0, (1 << 32) - 1)


def test_rtc_is_set(rtc: Device) -> None:
    rtc.poke(TIME_HIGH, 7)
    rtc.poke(TIME_LOW, 9)
    rtc.advance(1)
    assert read_time(rtc) == (7 << 32) + 10


def test_rtc_alarm_raises_the_line_until_it_is_cleared(rtc: Device) -> None:
    set_alarm(rtc, EPOCH + SECOND)
    assert (rtc.peek(ALARM_STATUS), rtc.level(0)) == (1, 0)
    rtc.advance(SECOND)
    assert (rtc.peek(ALARM_STATUS), rtc.level(0)) == (0, 1)
    rtc.poke(CLEAR_INTERRUPT, 1)
    assert rtc.level(0) == 0


def test_rtc_alarm_in_the_past_comes_at_once(rtc: Device) -> None:
    set_alarm(rtc, 1)
    rtc.advance(0)
    assert rtc.level(0) == 1


def test_rtc_alarm_is_taken_back(rtc: Device) -> None:
    set_alarm(rtc, EPOCH + SECOND)
    rtc.poke(CLEAR_ALARM, 1)
    assert rtc.advance(2 * SECOND) == 0
    assert (rtc.peek(ALARM_STATUS), rtc.irqs[-1].level) == (0, 0)


def test_rtc_reset_takes_all_back(rtc: Device) -> None:
    set_alarm(rtc, 1)
    rtc.advance(0)
    rtc.reset()
    assert (rtc.level(0), rtc.timers) == (0, {})


RX = TX = DLL = 0
IER = DLM = 1
IIR = FCR = 2
LCR, MCR, LSR, MSR, SCR = 3, 4, 5, 6, 7
DLAB, LOOP = 0x80, 0x10


@pytest.fixture(params=[0, 1], ids=["ports", "memory"])
def region(request: pytest.FixtureRequest) -> int:
    index: int = request.param
    return index


@pytest.fixture
def uart() -> Iterator[Device]:
    with Device(SOURCES / "ns16550a.bpf.c") as dev:
        yield dev


def test_uart_is_found_by_the_driver(uart: Device, region: int) -> None:
    """As autoconfig() of 8250_port.c looks for a 16550A."""
    uart.poke(IER, 0, 1, region=region)
    assert uart.peek(IER, 1, region=region) & 0xF == 0
    uart.poke(IER, 0xF, 1, region=region)
    assert uart.peek(IER, 1, region=region) & 0xF == 0xF
    uart.poke(MCR, LOOP | 0x0A, 1, region=region)
    assert uart.peek(MSR, 1, region=region) & 0xF0 == 0x90
    uart.poke(FCR, 1, 1, region=region)
    assert uart.peek(IIR, 1, region=region) >> 6 == 3
    uart.poke(SCR, 0xA5, 1, region=region)
    assert uart.peek(SCR, 1, region=region) == 0xA5


def test_uart_sends(uart: Device) -> None:
    for byte in b"hi\n":
        assert uart.peek(LSR, 1) & 0x20
        uart.poke(TX, byte, 1)
    assert b"".join(uart.maps["sent"].values) == b"hi\n"
    assert uart.globals["bytes_sent"] == 3


def test_uart_divisor_hides_the_data(uart: Device) -> None:
    uart.poke(LCR, DLAB, 1)
    uart.poke(DLL, 0x34, 1)
    uart.poke(DLM, 0x12, 1)
    assert (uart.peek(DLL, 1), uart.peek(DLM, 1)) == (0x34, 0x12)
    uart.poke(LCR, 3, 1)
    assert (uart.peek(RX, 1), uart.peek(IER, 1)) == (0, 0)
    assert uart.maps["sent"].values == []


def test_uart_interrupts_when_it_has_sent(uart: Device) -> None:
    uart.poke(IER, 2, 1)
    assert uart.level(0) == 1
    assert uart.peek(IIR, 1) == 2
    assert (uart.level(0), uart.peek(IIR, 1)) == (0, 1)
    uart.poke(TX, 0, 1)
    assert uart.level(0) == 1
    uart.poke(IER, 0, 1)
    assert uart.level(0) == 0


def test_uart_receives_what_it_sends_in_a_loop(uart: Device) -> None:
    uart.poke(MCR, LOOP, 1)
    uart.poke(IER, 1, 1)
    for byte in range(20):  # four too many
        uart.poke(TX, byte, 1)
    assert (uart.level(0), uart.peek(IIR, 1)) == (1, 4)
    assert [uart.peek(RX, 1) for _ in range(17)] == [*range(16), 0]
    assert uart.level(0) == 0
    assert uart.maps["sent"].values == []


def test_uart_is_a_byte_wide(uart: Device) -> None:
    with pytest.raises(AccessDeclined):
        uart.peek(RX, 4)
    with pytest.raises(AccessDeclined):
        uart.poke(TX, 0, 2)


def test_uart_says_its_clock(uart: Device) -> None:
    assert [(item.name, item.value) for item in uart.spec.properties] == [
        ("clock-frequency", "<1843200>"),
        ("reg-shift", "<0>"),
    ]
