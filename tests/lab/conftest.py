# SPDX-License-Identifier: GPL-2.0-or-later
"""The two sides of a lab test: the host's pytest, and the one inside the lab.

On the host a lab test is relayed (tests/lab/relay.py). Inside, it runs, and
fails when the kernel logged a complaint while it did.

A test marked ``debug_kernel`` runs twice, as test_x[plain] and test_x[debug]: in
the lab that all share, and in a second one that boots the debug kernel. With
``debug_kernel(only=True)`` it runs in the second alone. The tests are put in an
order in which the first has ended before the second boots (tests/lab/labs.py).
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from kvmbpf.lab import kernel_complaints
from kvmbpf.manager import Store
from tests.lab.bare_vmm import BareVmm
from tests.lab.kmemleak import LEAK_ELSEWHERE
from tests.lab.labs import KERNELS, Labs, is_relayed, kernel_of
from tests.lab.managed import own_store
from tests.lab.relay import REPORTS_VARIABLE, write_report
from tests.probes import lacks

IN_LAB = os.environ.get("KVMBPF_IN_LAB") == "1"
LAST = "test_kernel_log.py"
LABS = pytest.StashKey[Labs]()
# What to show after the tests.
ELSEWHERE: list[str] = []


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Give a store of the test's own."""
    with own_store(tmp_path) as found:
        yield found


@pytest.fixture
def vmm(store: Store) -> Iterator[BareVmm]:
    """Give a VMM that ends before the store is looked over."""
    with BareVmm() as found:
        yield found


def _turn(item: pytest.Item) -> tuple[int, bool]:
    """Return what the tests are ordered by: plain lab, labs that tests boot, debug lab."""
    if not item.get_closest_marker("lab"):
        return (-1, False)
    turn = 2 * KERNELS.index(kernel_of(item)) if is_relayed(item) else 1
    return (turn, item.path.name == LAST)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each kernel out of one that is marked so."""
    mark = metafunc.definition.get_closest_marker("debug_kernel")
    if mark is not None:
        kernels = KERNELS[1:] if mark.kwargs.get("only") else KERNELS
        metafunc.parametrize("lab_kernel", kernels, indirect=True)


@pytest.fixture(autouse=True)
def lab_kernel(request: pytest.FixtureRequest) -> str:
    """Return which kernel the test runs on: ``plain`` or ``debug``."""
    return str(getattr(request, "param", KERNELS[0]))


# Last, as tests/conftest.py marks the tests by the same hook.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the labs apart, and put the test that reads a whole kernel log last in each."""
    items.sort(key=_turn)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """On the host: take the test's reports from the lab instead of running it."""
    # pytest asks this hook for every test of the session, not for this folder's only.
    if IN_LAB:
        return None
    labs = item.session.stash.setdefault(LABS, Labs(item.session))
    labs.begin()
    if not is_relayed(item) or lacks("lab"):
        if item.get_closest_marker("lab"):
            labs.go_ahead()
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in labs.reports(item):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the labs, whatever ended the session."""
    if LABS in session.stash:
        session.stash[LABS].close()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep what a passed test has to say of the kernel."""
    ELSEWHERE.extend(str(text) for name, text in report.user_properties if name == LEAK_ELSEWHERE)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the leaks that fail no test: see tests/lab/kmemleak.py."""
    for text in ELSEWHERE:
        terminalreporter.section("a leak in the debug kernel, in no code of ours")
        terminalreporter.write_line(text)


if IN_LAB:

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Write the report for the host once all other plugins have seen it."""
        report = yield
        target = os.environ.get(REPORTS_VARIABLE)
        if target:
            write_report(item.config, report, Path(target))
        return report

    @pytest.fixture(autouse=True)
    def _kernel_is_quiet(request: pytest.FixtureRequest) -> Generator[None]:
        """Fail the test during which the kernel logged a bug or a warning."""
        if request.path.name == LAST:
            # It reads the log itself, and a scan for leaks writes to it.
            yield
            return
        fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        try:
            os.lseek(fd, 0, os.SEEK_END)
            yield
            complaints = kernel_complaints(_new_records(fd))
        finally:
            os.close(fd)
        assert not complaints


def _new_records(fd: int) -> str:
    """Read the kernel log's records from where the descriptor stands."""
    records = []
    while True:
        try:
            records.append(os.read(fd, 8192).decode("utf-8", "replace"))
        except BlockingIOError:
            return "".join(records)
        except BrokenPipeError:
            continue  # the ring overtook us: go on with the oldest that is left
