# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels that are built beside the tests: progress is shown late, and nothing stays."""

from __future__ import annotations

import io
import os
import sys
import time
from pathlib import Path

import pytest

from tests.lab.building import Build


def build(code: str) -> Build:
    return Build([sys.executable, "-c", f"import os, sys, time\n{code}"])


def test_progress_is_shown_from_its_beginning() -> None:
    one = build("for n in range(3): print(n, file=sys.stderr, flush=True); time.sleep(0.4)")
    shown = io.StringIO()
    assert one.running()
    one.wait(shown)
    assert not one.running()
    one.wait(shown)
    assert shown.getvalue() == "0\n1\n2\n"
    one.close()


def test_it_goes_after_everything_else() -> None:
    one = build("print(os.nice(0), file=sys.stderr)")
    shown = io.StringIO()
    one.wait(shown)
    one.close()
    assert shown.getvalue() == "19\n"


def test_one_that_fails_is_not_this_ones_business() -> None:
    one = build("sys.exit('no compiler')")
    shown = io.StringIO()
    one.wait(shown)
    one.close()
    assert shown.getvalue() == "no compiler\n"


def test_closed_it_has_ended(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    one = build(f"open({str(begun)!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    while not begun.exists() or not begun.read_text():
        time.sleep(0.01)
    one.close()
    one.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(begun.read_text()), 0)
