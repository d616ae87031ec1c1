# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of VMs: any text has a folder of its own, and is shown without doing anything."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmbpf.errors import StateError
from kvmbpf.model.vm_name import check_vm_name, home_of, is_home, name_of_home, printable, shown

pytestmark = pytest.mark.unit
# What a command line can hold: bytes without a NUL, not all of them UTF-8.
NAMES = (
    st.binary(min_size=1, max_size=400)
    .filter(lambda raw: 0 not in raw)
    .map(lambda raw: raw.decode(errors="surrogateescape"))
)
LONG = "x" * 300


@pytest.mark.parametrize("name", ["web1", "pid123", "_a-b", "a" * 63, "9"])
def test_a_plain_name_is_its_own_home(name: str) -> None:
    assert home_of(name) == name
    assert name_of_home(name) == name


@pytest.mark.parametrize(
    ("name", "home"),
    [
        ("my vm.1", "my%20vm%2E1"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        (" ", "%20"),
        ("-x", "%2Dx"),
        ("a/b", "a%2Fb"),
        ("b\u00fccher", "b%C3%BCcher"),
        ("\udcff", "%FF"),
        ("web1~4", "web1%7E4"),
        ("my%20vm", "my%2520vm"),
    ],
)
def test_another_name_has_a_home_that_no_plain_name_has(name: str, home: str) -> None:
    assert home_of(name) == home
    assert name_of_home(home) == name


@given(NAMES, st.integers(1, 1 << 22))
def test_every_home_is_fit_for_bpffs(name: str, pid: int) -> None:
    for home in (home_of(name), home_of(name, pid)):
        assert is_home(home)
        assert home.isascii()
        assert "." not in home
        assert "/" not in home
        assert len(f"{home}.lock") <= 255
        assert name_of_home(home) in (name, None)
    assert home_of(name) != home_of(name, pid)


@given(NAMES, NAMES, st.integers(1, 1 << 22))
def test_two_names_have_two_homes(one: str, other: str, pid: int) -> None:
    assert (home_of(one) == home_of(other)) == (one == other)
    assert home_of(one, pid) != home_of(other)


def test_long_names_that_begin_alike_have_two_homes() -> None:
    assert home_of(LONG).startswith("x" * 40 + "~x")
    assert len(home_of(LONG)) == 40 + 2 + 32
    assert home_of(LONG + "1") != home_of(LONG + "2")
    assert name_of_home(home_of(LONG)) is None
    assert is_home(home_of("\u00fc" * 300))


@pytest.mark.parametrize("name", ["a b", ".hidden", "-x", "", "a%2", "a%zz", "~1", "a~", "a~b"])
def test_what_is_no_home(name: str) -> None:
    assert not is_home(name)


def test_a_name_is_not_empty() -> None:
    assert check_vm_name(" ") == " "
    for name in ("", "a\0b"):
        with pytest.raises(StateError):
            check_vm_name(name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("web1", "web1"),
        ("b\u00fccher.1", "b\u00fccher.1"),
        ("my vm.1", "'my vm.1'"),
        (" ", "' '"),
        ("", "''"),
        ("it's", "$'it\\'s'"),
        ("\x1b[31mred", "$'\\x1b[31mred'"),
        ("two\nlines", "$'two\\x0alines'"),
        ("\udcff\udcfe", "$'\\xff\\xfe'"),
        ("\u202eevil", "$'\\xe2\\x80\\xaeevil'"),
        ("a\\b", "'a\\b'"),
        ("a\\\tb", "$'a\\\\\\x09b'"),
    ],
)
def test_how_a_name_is_shown(name: str, text: str) -> None:
    assert shown(name) == text


@given(NAMES)
def test_what_is_shown_is_what_a_shell_takes(name: str) -> None:
    text = shown(name)
    assert text.isprintable()
    done = subprocess.run(
        ["bash", "-c", f"printf %s {text}"], capture_output=True, check=True, env={"LC_ALL": "C"}
    )
    assert done.stdout == name.encode(errors="surrogateescape")


@given(st.text())
def test_what_does_not_print_is_not_printed(text: str) -> None:
    assert printable(text).isprintable()


def test_a_surrogate_that_is_no_byte_is_shown_too() -> None:
    assert shown("\ud800").isprintable()
    assert is_home(home_of("\ud800"))
