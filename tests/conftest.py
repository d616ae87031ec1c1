# SPDX-License-Identifier: GPL-2.0-or-later
"""Marks tests by their room, and owns every skip.

A test in tests/kvm is marked ``kvm``, and so on. What the machine lacks for a
mark skips the test; with KVMBPF_REQUIRE=1 each skip, whoever asked for it, is a
failure instead: CI sets it, so that a suite that shrank cannot look healthy.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.probes import lacks

ROOMS = ("unit", "bpf", "kvm", "lab")
REQUIRE = os.environ.get("KVMBPF_REQUIRE") == "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            room = item.path.relative_to(here).parts[0]
            if room in ROOMS:
                item.add_marker(room)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for room in ROOMS:
        reason = lacks(room) if item.get_closest_marker(room) else None
        if reason is not None:
            pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if REQUIRE and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"KVMBPF_REQUIRE=1, and it would be skipped: {reason}"
    return report
