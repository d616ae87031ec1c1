# SPDX-License-Identifier: GPL-2.0-or-later
"""Marks tests by their room, and owns every skip.

A test in tests/kvm is marked ``kvm``, and so on. What the machine lacks for a
mark skips the test; with KVMBPF_REQUIRE=1 each skip, whoever asked for it, is a
failure instead: CI sets it, so that a suite that shrank cannot look healthy.

A shell starts a job in the background with SIGINT ignored, and who inherits that
never sees a Ctrl-C: the tests of one begin with it as a terminal gives it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.probes import lacks

ROOMS = ("unit", "bpf", "kvm", "lab")
REQUIRE = os.environ.get("KVMBPF_REQUIRE") == "1"


def pytest_configure() -> None:
    """Take SIGINT, for this process and those it starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by its room, and put the rooms in order: the cheap ones first."""
    for item in items:
        room = _room(item)
        if room is not None:
            item.add_marker(room)
    items.sort(key=lambda item: ROOMS.index(_room(item) or ROOMS[0]))


def _room(item: pytest.Item) -> str | None:
    here = Path(__file__).parent
    if not item.path.is_relative_to(here):
        return None
    first = item.path.relative_to(here).parts[0]
    return first if first in ROOMS else None


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
