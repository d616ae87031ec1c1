# SPDX-License-Identifier: GPL-2.0-or-later
"""The series' own selftests pass, in a lab of their own."""

from __future__ import annotations

import pytest

from kvmbpf.lab import ensure_kernel
from kvmbpf.lab.selftests import build_selftests, choose, run_selftests

pytestmark = pytest.mark.on_host


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
def test_the_series_own_selftests_pass(debug: bool) -> None:
    kernel = ensure_kernel(debug=debug)
    programs = choose(kernel, build_selftests(kernel))
    report = run_selftests(kernel, programs)
    failed = [one for one in report.programs if one.problems]
    for one in failed:
        print(f"{one.name} said:\n{one.errors}")
    assert {one.name: one.problems for one in failed} == {}
    assert report.complaints == ()
    assert len(report.programs) == len(programs) >= 8
