# SPDX-License-Identifier: GPL-2.0-or-later
"""A VMM and a manager that are killed at any point leave nothing in the kernel."""

from __future__ import annotations

import os

import pytest

from tests.lab.fuzzers import ROUNDS_VARIABLE, run_fuzzer
from tests.lab.leaks import assert_nothing_leaked

pytestmark = pytest.mark.debug_kernel(only=True)


def test_killed_vmm_and_manager_leave_nothing() -> None:
    rounds = os.environ.get(ROUNDS_VARIABLE) or "500"
    run_fuzzer("kill", "--rounds", rounds, target="steered.bpf.o")
    assert_nothing_leaked()
