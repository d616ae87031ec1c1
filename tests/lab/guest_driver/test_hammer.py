# SPDX-License-Identifier: GPL-2.0-or-later
"""Hot updates under load: no access is lost, none is answered by half a version.

1,000 updates; ``KVMBPF_HAMMER_UPDATES`` says how many, and ``make hammer`` makes
10,000. They come in parts, so that one can see that it goes on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.lab.demo_guest import DemoVm, demo_vm
from tests.lab.hammering import Hammered, hammer_and_update, report

UPDATES = int(os.environ.get("KVMBPF_HAMMER_UPDATES", "1000"))
A_PART = 50
THREADS = 4
QUIET_READS = 20_000

PARTS: list[Hammered] = []


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoVm]:
    with demo_vm(tmp_path_factory.mktemp("guest"), smp=THREADS) as found:
        # Something to be carried over: doorbells, a ring that was used, a tick's count.
        found.driver.write("doorbell", 7)
        found.driver.fill(10)
        yield found


@pytest.mark.parametrize("part", range(max(UPDATES // A_PART, 1)))
def test_updates_under_load_lose_nothing(vm: DemoVm, part: int) -> None:
    found = hammer_and_update(vm, A_PART, THREADS)
    seen = found.seen
    assert (seen["lost"], seen["wrong"], seen["back"], seen["mixed"]) == (0, 0, 0, 0)
    assert len([one for one in found.threads if one["reads"]]) == THREADS
    # A version that no access met is passed over, and so is the change back from it.
    assert seen["changes"] == found.generations <= A_PART
    assert (A_PART - found.generations) % 2 == 0
    assert found.generations > A_PART // 2
    assert found.lost_state == []
    vm.assert_counts_agree()
    PARTS.append(found)


def test_the_figures_are_told(vm: DemoVm) -> None:
    quiet = vm.driver.hammer(QUIET_READS, THREADS)
    assert quiet["changes"] == 0
    assert PARTS, "no part was good"
    print(report(quiet, PARTS))
