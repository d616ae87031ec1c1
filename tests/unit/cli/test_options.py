# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.cli.options: times with and without a unit, and what is none."""

from __future__ import annotations

import click
import pytest

from kvmbpf.cli.options import FAULTS, NONE, Nanoseconds, OrNone, Seconds


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


def test_a_time_fits_into_64_bits() -> None:
    assert Nanoseconds().convert("10000000000s", None, None) == 10**19
    with pytest.raises(click.BadParameter, match="is more than 18446744073709551615 ns"):
        Nanoseconds().convert("18446744074s", None, None)


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("4294967294", 0xFFFFFFFE), ("none", NONE)])
def test_a_number_or_none(text: str, number: int | str) -> None:
    assert OrNone(FAULTS).convert(text, None, None) == number


@pytest.mark.parametrize("text", ["", "None", "no", "-1", "4294967295", "1.5"])
def test_what_is_neither_a_number_nor_none(text: str) -> None:
    with pytest.raises(click.BadParameter):
        OrNone(FAULTS).convert(text, None, None)


@pytest.mark.parametrize("text", ["0.01", "1", "2.5", "86400"])
def test_seconds(text: str) -> None:
    assert Seconds().convert(text, None, None) == float(text)


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "-inf", "1e99", "1s", "often"])
def test_what_are_no_seconds(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Seconds().convert(text, None, None)
