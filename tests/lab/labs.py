# SPDX-License-Identifier: GPL-2.0-or-later
"""The labs of one run of the tests: each boots once.

The first one starts with the first test, whichever that is, if its kernel is there: it
works on its tests while the host runs those that need no lab. The debug kernel's starts
when that one has ended, and works beside the tests that boot labs of their own.

A kernel that is not there is built beside the tests that need none, or another one
(tests/lab/building.py).
"""

from __future__ import annotations

import sys

import pytest

from kvmbpf.errors import KvmBpfError, LabError
from kvmbpf.lab import find_kernel
from tests.lab.building import Build
from tests.lab.relay import LabSession, failed_report
from tests.probes import lacks

KERNELS = ("plain", "debug")


def is_relayed(item: pytest.Item) -> bool:
    """Tell whether a test runs in the lab that all share, not in one that it boots itself."""
    return bool(item.get_closest_marker("lab")) and not item.get_closest_marker("on_host")


def kernel_of(item: pytest.Item) -> str:
    """Return the kernel that a test runs on, one of KERNELS."""
    if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
        return str(item.callspec.params.get("lab_kernel", KERNELS[0]))
    return KERNELS[0]


class Labs:
    """The labs of a session of pytest, each of which boots once.

    :param session: its tests are in their order: those of a kernel stand together.
    """

    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._labs: dict[str, LabSession | KvmBpfError] = {}
        self._builds: dict[str, Build] = {}
        self._begun = False

    def begin(self) -> None:
        """Start the first lab, or the build of its kernel; once is enough."""
        if self._begun or lacks("lab"):
            return
        self._begun = True
        if not self._items(KERNELS[0]):
            return
        try:
            built = find_kernel() is not None
        except KvmBpfError:
            return  # the first test that needs the kernel says it
        if built:
            self._start(KERNELS[0])
        else:
            self._build(KERNELS[0])

    def go_ahead(self) -> None:
        """Start the debug kernel's lab beside the tests that come before its own.

        No test of the plain lab is left. A kernel that is not built yet is not waited for.
        """
        debug = KERNELS[1]
        if debug in self._labs or lacks("lab") or not self._items(debug):
            return
        if debug in self._builds and self._builds[debug].running():
            return
        try:
            built = find_kernel(debug=True) is not None
        except KvmBpfError:
            return  # the first test that needs the kernel says it
        if built:
            self._close_labs()
            self._start(debug)

    def reports(self, item: pytest.Item) -> list[pytest.TestReport]:
        """Wait for the reports of a test that is relayed."""
        kernel = kernel_of(item)
        if kernel not in self._labs:
            self._close_labs()
            self._start(kernel)
        lab = self._labs[kernel]
        if isinstance(lab, KvmBpfError):
            return failed_report(item, lab)
        try:
            return lab.reports(item.nodeid)
        except KvmBpfError as error:
            # One boot only: what ended the lab fails the tests that are left, at once.
            lab.close()
            self._labs[kernel] = LabError(f"not run: the lab had ended, see {item.nodeid}")
            return failed_report(item, error)

    def close(self) -> None:
        """End the labs, whatever they are at."""
        self._close_labs()
        for build in self._builds.values():
            build.close()

    def _close_labs(self) -> None:
        for lab in self._labs.values():
            if isinstance(lab, LabSession):
                lab.close()

    def _build(self, kernel: str) -> None:
        if self._items(kernel):
            self._builds[kernel] = Build.of_kernel(debug=kernel == KERNELS[1])

    def _start(self, kernel: str) -> None:
        capture = self._session.config.pluginmanager.getplugin("capturemanager")
        try:
            with capture.global_and_fixture_disabled():
                if kernel in self._builds:
                    self._builds[kernel].wait(sys.stderr)
                self._labs[kernel] = LabSession(
                    self._session.config, self._items(kernel), debug=kernel == KERNELS[1]
                )
        except KvmBpfError as error:
            self._labs[kernel] = error
        if kernel == KERNELS[0]:
            self._build(KERNELS[1])

    def _items(self, kernel: str) -> list[pytest.Item]:
        return [
            item for item in self._session.items if is_relayed(item) and kernel_of(item) == kernel
        ]
