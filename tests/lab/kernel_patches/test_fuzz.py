# SPDX-License-Identifier: GPL-2.0-or-later
"""Random operations on VMs, devices and links: the kernel keeps to its contract."""

from __future__ import annotations

import os

import pytest

from tests.lab.fuzzers import SECONDS_VARIABLE, run_fuzzer
from tests.lab.leaks import assert_nothing_leaked

pytestmark = pytest.mark.debug_kernel(only=True)


def test_random_operations_break_nothing_and_leave_nothing() -> None:
    run_fuzzer("fuzz", "--seconds", os.environ.get(SECONDS_VARIABLE) or "60", target="")
    assert_nothing_leaked()
