# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest that times its accesses, where no device answers them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from kvmbpf.bench.paced_guest import PacedGuest
from kvmbpf.errors import VmmError

GPA = 0xFEF00000
LEFT = "the bench's VMM: the guest left KVM with exit reason 6"


def test_an_access_that_nothing_answers_is_told(tmp_path: Path) -> None:
    with PacedGuest(GPA, 8, tmp_path) as guest:
        with pytest.raises(VmmError, match=LEFT), guest.running(between_ticks=False):
            pytest.fail("it runs")
        assert guest.count == 0


def test_it_ends_with_its_context(tmp_path: Path) -> None:
    with PacedGuest(GPA, 8, tmp_path) as guest:
        os.kill(guest.pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(guest.pid, 0)


def test_a_vmm_that_has_died_is_told(tmp_path: Path) -> None:
    with PacedGuest(GPA, 8, tmp_path) as guest:
        os.kill(guest.pid, signal.SIGKILL)
        os.waitid(os.P_PID, guest.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(VmmError, match="it has ended"), guest.running(between_ticks=True):
            pytest.fail("it runs")
