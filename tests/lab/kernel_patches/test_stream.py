# SPDX-License-Identifier: GPL-2.0-or-later
"""Hot updates under as many accesses as KVM can answer: none is lost.

A few million; ``KVMBPF_STREAM_READS`` says how many at least, ``KVMBPF_HAMMER_UPDATES``
likewise how many updates, and ``make hammer`` makes a thousand million under 10,000.
They come in parts, so that one can see that it goes on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from kvmbpf.manager import Store, attach, detach, device_state, update
from kvmbpf.model.objfile import read_device
from kvmbpf.model.placement import Placed
from tests.lab.hammering import ahead_of_the_guest
from tests.lab.managed import own_store
from tests.lab.objects import device_object
from tests.lab.stream import PORT, Seen, StreamVmm

READS = int(os.environ.get("KVMBPF_STREAM_READS", "4000000"))
A_PART = 20_000_000
PARTS = -(-READS // A_PART)
VCPUS = 4
UPDATES_OF_A_PART = max(4, -(-int(os.environ.get("KVMBPF_HAMMER_UPDATES", "0")) // PARTS))

TOLD: list[tuple[int, float]] = []


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with own_store(tmp_path_factory.mktemp("stream")) as found:
        yield found


@pytest.fixture(scope="module")
def stream(store: Store) -> Iterator[StreamVmm]:
    with StreamVmm(VCPUS) as vmm:
        first = device_object("stream_v1")
        attach(store, first, Placed(read_device(first), (PORT,), ()), pid=vmm.pid, vm="stream")
        yield vmm
        detach(store, "stream")


def assert_all_is_well(store: Store, seen: Seen, updates: int) -> None:
    """No reply was lost or wrong, and the host has counted as the guest has."""
    assert seen.bad == dict.fromkeys(seen.bad, 0)
    state = device_state(store, "stream", "stream")
    numbers = state["numbers"]
    assert isinstance(numbers, list)
    assert numbers == [vcpu["reads"] for vcpu in seen.vcpus] + [0] * (len(numbers) - VCPUS)
    # Serialised: no vCPU's count was written over by another's.
    assert state["reads"] == seen.reads
    # A version that no access met is passed over, and so is the change back from it.
    assert [vcpu["changes"] for vcpu in seen.vcpus] == [state["generation"]] * VCPUS
    assert updates // 2 < state["generation"] <= updates


@pytest.mark.parametrize("part", range(PARTS))
def test_updates_under_a_stream_lose_nothing(store: Store, stream: StreamVmm, part: int) -> None:
    wanted = stream.look().reads + min(READS, A_PART)
    updates = 0
    stream.go()
    begin = time.monotonic()
    with ahead_of_the_guest():
        while stream.look().reads < wanted or updates < UPDATES_OF_A_PART:
            # An even number of them leaves version 1 attached.
            update(store, device_object("stream_v2"))
            update(store, device_object("stream_v1"))
            updates += 2
    seconds = time.monotonic() - begin
    stream.await_all()
    seen = stream.stop()
    TOLD.append((updates, seconds))
    assert_all_is_well(store, seen, sum(updates for updates, _ in TOLD))


def test_the_figures_of_the_stream_are_told(stream: StreamVmm) -> None:
    seen = stream.look()
    updates, seconds = (sum(part) for part in zip(*TOLD, strict=True))
    print(
        f"{updates:.0f} updates in {seconds:.1f} s, {1000 * seconds / updates:.0f} ms each\n"
        f"{seen.reads} reads, {seen.reads / seconds:.0f} a second: "
        + ", ".join(f"{count} {name}" for name, count in seen.bad.items())
        + f"\n{seen.vcpus[0]['changes']} changes of the version that answers"
    )
    assert seen.reads >= READS
