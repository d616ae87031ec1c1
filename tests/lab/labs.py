# SPDX-License-Identifier: GPL-2.0-or-later
"""The labs of one run of the tests, beside the tests that the host runs itself.

An emulated lab leaves a second CPU idle most of the time. So the first lab starts
with the first test, whichever that is, and the next one when it has ended, or when
the host has no tests of its own left: what is reported when its turn comes was
mostly done long before. A kernel that must be built first is waited for by the
first test that needs it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kvmbpf.errors import KvmBpfError, LabError
from kvmbpf.lab import find_kernel
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

    :param session: its tests are in their order: what is relayed comes last.
    """

    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._labs: dict[str, LabSession | KvmBpfError] = {}
        self._looked = False

    def before(self, item: pytest.Item) -> None:
        """Start what can be started without a wait, if a test on the host is next."""
        if self._looked and not item.get_closest_marker("lab"):
            return
        self._looked = True
        if not any(lab.running() for lab in self._booted()):
            self._start_built(one=True)

    def reports(self, item: pytest.Item) -> list[pytest.TestReport]:
        """Wait for the reports of a test that is relayed."""
        kernel = kernel_of(item)
        if kernel not in self._labs:
            self._start(kernel)
        self._start_built()
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
        for lab in self._booted():
            lab.close()

    def _booted(self) -> Iterator[LabSession]:
        return (lab for lab in self._labs.values() if isinstance(lab, LabSession))

    def _start_built(self, *, one: bool = False) -> None:
        """Start the labs, or one, whose kernels are in the cache."""
        if lacks("lab"):
            return
        for kernel in KERNELS:
            if kernel in self._labs or not self._items(kernel):
                continue
            try:
                built = find_kernel(debug=kernel == KERNELS[1])
            except KvmBpfError:
                return  # the test that asks for the kernel says it
            if built is not None:
                self._start(kernel)
            if one:
                return

    def _start(self, kernel: str) -> None:
        capture = self._session.config.pluginmanager.getplugin("capturemanager")
        try:
            with capture.global_and_fixture_disabled():
                self._labs[kernel] = LabSession(
                    self._session.config, self._items(kernel), debug=kernel == KERNELS[1]
                )
        except KvmBpfError as error:
            self._labs[kernel] = error

    def _items(self, kernel: str) -> list[pytest.Item]:
        return [
            item for item in self._session.items if is_relayed(item) and kernel_of(item) == kernel
        ]
