# SPDX-License-Identifier: GPL-2.0-or-later
"""Measure paths, and put each beside its opponents.

A round is a run of N accesses and one of 2N; what the second takes longer is
the cost of N. A path that the running kernel does not have is said so rather
than left out.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from kvmbpf.bench.loop_guest import Access
from kvmbpf.bench.paths import (
    EMPTY_LOOP,
    EMPTY_LOOP_INSTRUCTIONS,
    OPPONENTS,
    AccessPath,
    Loop,
    NoPortsError,
    Parts,
)
from kvmbpf.bench.updating import NAME as HOT_UPDATE
from kvmbpf.bench.updating import UpdateReport, measure_updates
from kvmbpf.errors import StateError

SCHEMA = 1

# The empty loop is that much shorter than an access.
_EMPTY_FACTOR = 100


@dataclass(frozen=True, slots=True)
class Measurement:
    """The cost of one access on one path.

    :param path: the path.
    :param rounds_ns: of each round, in nanoseconds; under icount, instructions.
        Empty where the running kernel does not support the path.
    """

    path: AccessPath
    rounds_ns: tuple[float, ...]

    @property
    def supported(self) -> bool:
        """Whether the running kernel has this path."""
        return bool(self.rounds_ns)

    @property
    def ns(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds_ns)

    @property
    def spread(self) -> float:
        """Largest less smallest of the rounds, in parts of the median."""
        return (max(self.rounds_ns) - min(self.rounds_ns)) / self.ns


@dataclass(frozen=True, slots=True)
class Report:
    """The paths of one run, measured one after the other.

    :param count: accesses in the shorter of a round's two runs.
    :param measurements: the loop alone first.
    :param updates: hot updates, or None where they were not measured.
    """

    count: int
    measurements: tuple[Measurement, ...]
    updates: UpdateReport | None = None

    @property
    def unit(self) -> str:
        """What is counted: ``instructions`` or ``ns``, by a loop whose length is known."""
        empty = self.measurements[0].ns
        exact = abs(empty - EMPTY_LOOP_INSTRUCTIONS) < 0.05 * EMPTY_LOOP_INSTRUCTIONS
        return "instructions" if exact else "ns"

    def ratios(self, measurement: Measurement) -> dict[str, float]:
        """Return how a path compares with each opponent of its group that was measured."""
        if not measurement.supported:
            return {}
        group = {
            other.path.answered_by: other.ns
            for other in self.measurements
            if other.path.group == measurement.path.group and other.supported
        }
        return {name: measurement.ns / group[name] for name in OPPONENTS if name in group}

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values, with its schema's version."""
        system = os.uname()
        return {
            "schema": SCHEMA,
            "kernel": system.release,
            "machine": system.machine,
            "unit": self.unit,
            "count": self.count,
            "paths": [
                {
                    "path": found.path.name,
                    "group": found.path.group or None,
                    "answered_by": found.path.answered_by if found.path.group else None,
                    "supported": found.supported,
                    "per_access": found.ns if found.supported else None,
                    "spread": found.spread if found.supported else None,
                    "rounds": list(found.rounds_ns),
                    "ratios": self.ratios(found),
                }
                for found in self.measurements
            ],
            "update": None if self.updates is None else self.updates.to_json(),
        }


def measure(
    paths: Iterable[AccessPath],
    parts: Parts,
    *,
    count: int,
    rounds: int,
    updates: bool = False,
    progress: Callable[[str], object] = lambda _: None,
) -> Report:
    """Measure the loop alone, which tells the unit, and then paths.

    :param paths: which.
    :param parts: what they need.
    :param count: accesses in the shorter of a round's two runs.
    :param rounds: how many rounds.
    :param updates: measure hot updates too.
    :param progress: called with a path's name before it is measured.
    :raise VmmError: when an access is answered elsewhere: then it is not the path.
        When an update loses one.
    :raise StateError: when the count is too small to be timed.
    """
    found = []
    for path in (EMPTY_LOOP, *(path for path in paths if path is not EMPTY_LOOP)):
        progress(path.name)
        found.append(_measure(path, parts, count, rounds))
    report = Report(count, tuple(found))
    if not updates:
        return report
    progress(HOT_UPDATE)
    found_updates = measure_updates(parts.demo_objects, parts.folder, rounds=rounds)
    return dataclasses.replace(report, updates=found_updates)


def _measure(path: AccessPath, parts: Parts, count: int, rounds: int) -> Measurement:
    if path.access is Access.NONE:
        count *= _EMPTY_FACTOR
    try:
        with path.open(parts) as loop:
            loop(path.access, count // 10 + 1)  # warm
            costs = tuple(_round_ns(loop, path.access, count) for _ in range(rounds))
    except NoPortsError:
        return Measurement(path, ())
    if statistics.median(costs) <= 0:
        raise StateError(f"{path.name}: too few accesses to time; raise the count")
    return Measurement(path, costs)


def _round_ns(loop: Loop, access: Access, count: int) -> float:
    once = _time_ns(loop, access, count)
    twice = _time_ns(loop, access, 2 * count)
    return (twice - once) / count


def _time_ns(loop: Loop, access: Access, count: int) -> int:
    start = time.monotonic_ns()
    loop(access, count)
    return time.monotonic_ns() - start
