# SPDX-License-Identifier: GPL-2.0-or-later
"""The tests' own measure of what is left behind."""

from __future__ import annotations

import os
import threading

import pytest

from tests.held import nothing_left

pytestmark = pytest.mark.unit


def test_what_is_put_away_is_not_left() -> None:
    with nothing_left():
        os.close(os.eventfd(0))


def test_what_others_put_away_in_time_is_not_left() -> None:
    with nothing_left():
        fd = os.eventfd(0)
        threading.Timer(0.2, os.close, [fd]).start()


def test_a_descriptor_that_stays_is_left() -> None:
    with pytest.raises(AssertionError, match=r"left behind.*eventfd"), nothing_left(0):
        fd = os.eventfd(0)
    os.close(fd)


def test_a_thread_that_stays_is_left() -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="stays", daemon=True)
    with pytest.raises(AssertionError, match="stays"), nothing_left(0):
        thread.start()
    end.set()
    thread.join()


def test_a_descriptor_of_another_that_was_closed_is_told() -> None:
    fd = os.eventfd(0)
    with pytest.raises(AssertionError, match=r"closed.*eventfd"), nothing_left(0):
        os.close(fd)
