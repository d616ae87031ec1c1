# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.cli.options: times with and without a unit, and what is none."""

from __future__ import annotations

import click
import pytest

from kvmbpf.cli.options import Nanoseconds, Seconds


@pytest.mark.parametrize(
    ("text", "ns"),
    [("1ns", 1), ("500us", 500_000), ("2ms", 2_000_000), ("1.5s", 1_500_000_000), ("0s", 0)],
)
def test_a_time_with_its_unit(text: str, ns: int) -> None:
    assert Nanoseconds().convert(text, None, None) == ns


@pytest.mark.parametrize("text", ["", "5", "ms", "-1ms", "1 ms", "1e3ms", "1m", "0x10ns", "nans"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no time"):
        Nanoseconds().convert(text, None, None)


@pytest.mark.parametrize("text", ["0.01", "1", "2.5", "86400"])
def test_seconds(text: str) -> None:
    assert Seconds().convert(text, None, None) == float(text)


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "-inf", "1e99", "1s", "often"])
def test_what_are_no_seconds(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Seconds().convert(text, None, None)
