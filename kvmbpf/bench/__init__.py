# SPDX-License-Identifier: GPL-2.0-or-later
"""What an access costs, on each path that can answer it.

A bare-metal guest of three instructions makes N accesses; the time of 2N less
that of N is the cost of N, free of what comes before and after. Under the
lab's --icount a nanosecond of the clock is one instruction, so the figures are
exact counts; elsewhere they are wall-clock times, of which only the ratios of
one run mean anything. Each path's opponents are measured beside it. What a hot
update takes, and what it does to accesses, is a measurement of its own.
"""

from kvmbpf.bench.measuring import Measurement, Report, measure
from kvmbpf.bench.paths import OPPONENTS, PATHS, AccessPath, Parts
from kvmbpf.bench.updating import NAME as HOT_UPDATE
from kvmbpf.bench.updating import Disturbance, Durations, UpdateCost, UpdateReport

__all__ = [
    "HOT_UPDATE",
    "OPPONENTS",
    "PATHS",
    "AccessPath",
    "Disturbance",
    "Durations",
    "Measurement",
    "Parts",
    "Report",
    "UpdateCost",
    "UpdateReport",
    "measure",
]
