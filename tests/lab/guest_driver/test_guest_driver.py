# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo device and its driver: each feature, from inside one Linux guest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kvmbpf.errors import VmmError
from tests.lab.demo_guest import DemoVm, demo_vm

READER = "ring_reader"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoVm]:
    """Give one guest for all tests here, which leave it as it was."""
    with demo_vm(tmp_path_factory.mktemp("guest"), smp=2) as vm:
        yield vm


def refused(vm: DemoVm, name: str, value: int) -> str:
    """Write what the driver must refuse; return the error's text."""
    with pytest.raises(VmmError) as caught:
        vm.driver.write(name, value)
    return str(caught.value)


def test_both_sides_count_alike(shared: DemoVm) -> None:
    before = shared.exits()
    shared.driver.write("doorbell", 50)
    shared.driver.hammer(500, threads=2)
    shared.driver.fill(100)
    assert shared.exits() == before
    assert shared.driver.number("interrupts") >= 50
    shared.assert_counts_agree()


def test_the_drivers_ring_is_as_large_as_the_property_says(shared: DemoVm) -> None:
    assert shared.driver.number("ring/size") == 64 == shared.state()["ring_size"]


@pytest.mark.parametrize("records", [1, 63, 64, 65, 1000])
def test_all_records_arrive_right_and_in_order(shared: DemoVm, records: int) -> None:
    before = shared.driver.numbers("ring/*")
    after = shared.driver.fill(records)
    assert after["records"] - before["records"] == records
    assert (after["lost"], after["wrong"]) == (0, 0)
    assert shared.state()["ring_sequence"] == after["records"]
    assert shared.state()["ring_wanted"] == 0
    shared.assert_counts_agree()


def test_a_program_reads_the_ring_through_the_character_device(shared: DemoVm) -> None:
    node, fill = shared.driver.node, f"{shared.driver.folder}/ring/fill"
    # Held open by the shell, so that the records wait for the program.
    said = shared.guest.console.run(
        f"exec 3<{node}; echo 300 > {fill}; {READER} {node} 300; "
        f"{READER} {node} 1 0 || echo no more"
    )
    first, last, none, _ = said.splitlines()[0].split(), said.splitlines()[-1], *said.split()[-2:]
    assert first[:3] == ["records=300", "lost=0", "wrong=0"]
    assert (last, none) == ("no more", "no")


def test_a_reader_that_does_not_read_loses_nothing(shared: DemoVm) -> None:
    """Its queue fills, then the ring, then the device waits; reading sets all going again."""
    node, fill = shared.driver.node, f"{shared.driver.folder}/ring/fill"
    console = shared.guest.console
    holder = console.start(f"exec 3<{node}; read forever < /dev/ttyS0")
    console.run(f"until ls -l /proc/*/fd 2>/dev/null | grep -q {node}; do :; done")
    taken = shared.driver.number("ring/records")
    console.run(f"echo 500 > {fill}")
    full = shared.driver.number("ring/size") * 2  # the driver's queue is as long
    for _ in range(100):
        if shared.state()["ring_sequence"] - taken == full:
            break
    stuck = shared.state()
    assert (stuck["ring_sequence"] - taken, stuck["ring_wanted"]) == (full, 500 - full)
    assert f"records=500 lost=0 wrong=0 first={taken + 1} last={taken + 500}" in console.run(
        f"{READER} {node} 500"
    )
    holder.stop()
    shared.assert_counts_agree()


def test_the_tick_raises_events_until_it_is_turned_off(shared: DemoVm) -> None:
    shared.driver.write("tick_us", 1)  # too short: the least that there is
    assert shared.driver.number("tick_us") == 1000
    before = shared.driver.number("tick_events")
    for _ in range(1000):
        if shared.driver.number("tick_events") > before + 3:
            break
    shared.driver.write("tick_us", 0)
    assert shared.driver.number("tick_events") > before + 3
    ticks = shared.driver.number("ticks")
    assert ticks >= shared.driver.number("tick_events")
    assert shared.driver.number("ticks") == ticks
    shared.assert_counts_agree()


def test_the_selftest_measures_as_often_as_it_is_told(shared: DemoVm) -> None:
    driver = shared.driver
    driver.write("selftest/samples", 200)
    before = driver.number("reads")
    driver.write("selftest/run", 1)
    assert driver.number("reads") - before == 200
    found = driver.numbers("selftest/*")
    assert 0 < found["min_ns"] <= found["median_ns"] <= found["p99_ns"] <= found["max_ns"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("selftest/samples", 0, "out of range"),
        ("selftest/samples", 1_000_001, "out of range"),
        ("selftest/run", 0, "Invalid argument"),
        ("hammer/threads", 0, "out of range"),
        ("hammer/threads", 3, "out of range"),
        ("ring/fill", (1 << 24) + 1, "out of range"),
        ("doorbell", 1_000_001, "out of range"),
    ],
)
def test_what_is_out_of_range_is_refused(shared: DemoVm, name: str, value: int, said: str) -> None:
    assert said in refused(shared, name, value)


def test_a_second_hammer_is_refused_and_a_signal_ends_the_first(shared: DemoVm) -> None:
    job = shared.driver.start_hammer()
    assert "resource busy" in refused(shared, "hammer/run", 1)
    assert job.stop() == 143
    seen = shared.driver.numbers("hammer/*")
    assert (seen["lost"], seen["wrong"], seen["back"], seen["mixed"]) == (0, 0, 0, 0)
    shared.assert_counts_agree()
