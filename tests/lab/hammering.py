# SPDX-License-Identifier: GPL-2.0-or-later
"""Hot updates, one after the other, while all vCPUs of a guest hammer the device."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from kvmbpf.manager import update
from tests.lab.demo_guest import DemoVm

# What an access may change. All else of the state must come through every update.
_CHANGES = {"reads", "counter", "generation", "answering", "take_over"}
# The four vCPUs would leave the manager a fifth of two CPUs, and most of the time
# would be spent on waiting.
_NICE = -20


@dataclass(frozen=True)
class Hammered:
    """What was seen during some updates.

    :param updates: how many there were.
    :param seconds: how long they took, all together.
    :param seen: what the guest saw: the numbers in its files of ``hammer/``.
    :param threads: likewise, by thread.
    :param generations: how often the version that answers changed, by the host's count.
    :param lost_state: names of the variables that did not come through.
    """

    updates: int
    seconds: float
    seen: dict[str, int]
    threads: list[dict[str, int]]
    generations: int
    lost_state: list[str]


def hammer_and_update(vm: DemoVm, updates: int, threads: int = 4) -> Hammered:
    """Alternate the device's versions while the guest reads as fast as it can.

    :param vm: the guest, with version 1 attached.
    :param updates: how many, back to back; an even number leaves version 1 attached.
    :param threads: in the guest, each on a CPU of its own.
    """
    before = vm.state()
    job = vm.driver.start_hammer(threads)
    with ahead_of_the_guest():
        begin = time.monotonic()
        for number in range(updates):
            update(vm.store, vm.parts.v1 if number % 2 else vm.parts.v2)
        seconds = time.monotonic() - begin
    job.stop()
    after = vm.state()
    kept = (name for name in before if name not in _CHANGES)
    return Hammered(
        updates=updates,
        seconds=seconds,
        seen=vm.driver.numbers("hammer/*"),
        threads=vm.driver.threads(),
        generations=after["generation"] - before["generation"],
        lost_state=[name for name in kept if before[name] != after[name]],
    )


def report(quiet: dict[str, int], parts: Sequence[Hammered]) -> str:
    """Return the figures as text.

    :param quiet: what the guest saw without updates.
    :param parts: what it saw with them.
    """
    updates = sum(part.updates for part in parts)
    seconds = sum(part.seconds for part in parts)
    seen = {name: sum(part.seen[name] for part in parts) for name in ("reads", "changes")}
    bad = {
        name: sum(part.seen[name] for part in parts) for name in ("lost", "wrong", "back", "mixed")
    }
    longest = max(part.seen["max_ns"] for part in parts)
    lines = [
        f"{updates} updates in {seconds:.1f} s, {1000 * seconds / updates:.0f} ms each",
        f"{seen['reads']} reads: " + ", ".join(f"{count} {name}" for name, count in bad.items()),
        f"{seen['changes']} changes of the version that answers",
        f"without updates: median {quiet['median_ns']} ns, p99.9 {quiet['p999_ns']} ns, "
        f"longest {quiet['max_ns']} ns",
        f"with updates: longest {longest} ns, {longest / quiet['p999_ns']:.2f} of p99.9 without",
    ]
    for number in range(len(parts[0].threads)):
        mine = [part.threads[number] for part in parts]
        lines.append(
            f"cpu {mine[0]['cpu']}: {sum(one['reads'] for one in mine)} reads, "
            f"median of p99.9 {sorted(one['p999_ns'] for one in mine)[len(mine) // 2]} ns, "
            f"longest {max(one['max_ns'] for one in mine)} ns"
        )
    return "\n".join(lines)


@contextmanager
def ahead_of_the_guest() -> Iterator[None]:
    """Let this process have the CPU when it wants it."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)
