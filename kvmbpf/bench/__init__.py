# SPDX-License-Identifier: GPL-2.0-or-later
"""What an access costs, on each path that can answer it.

A bare-metal guest of three instructions makes N accesses; the time of 2N less
that of N is the cost of N, free of what comes before and after. Under the
lab's --icount a nanosecond of the clock is one instruction, so the figures are
exact counts; elsewhere they are wall-clock times, of which only the ratios of
one run mean anything. Each path's opponents are measured beside it.
"""

from kvmbpf.bench.measuring import Measurement, Report, measure
from kvmbpf.bench.paths import OPPONENTS, PATHS, AccessPath, Parts

__all__ = ["OPPONENTS", "PATHS", "AccessPath", "Measurement", "Parts", "Report", "measure"]
