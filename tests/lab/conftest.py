# SPDX-License-Identifier: GPL-2.0-or-later
"""The two sides of a lab test: the host's pytest, and the one inside the lab.

On the host a lab test is relayed (tests/lab/relay.py). Inside, it runs, and
fails when the kernel logged a complaint while it did.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from kvmbpf.errors import KvmBpfError, LabError
from kvmbpf.lab import kernel_complaints
from tests.lab.relay import REPORTS_VARIABLE, LabSession, failed_report, write_report
from tests.probes import lacks

IN_LAB = os.environ.get("KVMBPF_IN_LAB") == "1"
LAST = "test_kernel_log.py"
SESSION = pytest.StashKey[LabSession | KvmBpfError]()


def _is_relayed(item: pytest.Item) -> bool:
    """Tell whether a test runs in the lab that all share, not in one that it boots itself."""
    return bool(item.get_closest_marker("lab")) and not item.get_closest_marker("on_host")


def _lab_items(session: pytest.Session) -> list[pytest.Item]:
    return [item for item in session.items if _is_relayed(item)]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the test that reads the whole kernel log last."""
    items.sort(key=lambda item: item.path.name == LAST)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """On the host: take the test's reports from the lab instead of running it."""
    # pytest asks this hook for every test of the session, not for this folder's only.
    if IN_LAB or not _is_relayed(item) or lacks("lab"):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in _relayed(item):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _relayed(item: pytest.Item) -> list[pytest.TestReport]:
    stash = item.session.stash
    capture = item.config.pluginmanager.getplugin("capturemanager")
    try:
        if SESSION not in stash:
            with capture.global_and_fixture_disabled():
                stash[SESSION] = LabSession(item.config, _lab_items(item.session))
        lab = stash[SESSION]
        if isinstance(lab, KvmBpfError):
            return failed_report(item, lab)
        return lab.reports(item.nodeid)
    except KvmBpfError as error:
        # One boot only: what ended the lab fails the tests that are left, at once.
        _close(item.session)
        stash[SESSION] = LabError(f"not run: the lab had ended, see {item.nodeid}")
        return failed_report(item, error)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the lab, whatever ended the session."""
    _close(session)


def _close(session: pytest.Session) -> None:
    lab = session.stash.get(SESSION, None)
    if isinstance(lab, LabSession):
        lab.close()


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
    def _kernel_is_quiet() -> Generator[None]:
        """Fail the test during which the kernel logged a bug or a warning."""
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
