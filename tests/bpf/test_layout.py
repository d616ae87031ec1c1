# SPDX-License-Identifier: GPL-2.0-or-later
"""Every way in which a new version's state can differ, in words and in parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmbpf.errors import LayoutDifference
from kvmbpf.kernel.libbpf.carry import compare_state
from kvmbpf.kernel.libbpf.object import BpfObject

from .build import compile_bpf
from .conftest import Compile

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("no_fd_leak")]

HEAD = ("value", "struct state", "head")
MOVED_DOWN = (
    *("tail", "flags", "rest", "mode", "slots"),
    *("label", "whole", "low", "high", "next", "matrix"),
)

# define, (place, struct, field), what, before, after, the sentence
IN_A_STRUCT: list[tuple[str, tuple[str, str, str], str, str, str, str]] = [
    ("BEFORE_HEAD=__u64 extra;", HEAD, "moved", "0", "8", "field `head` moved from 0 to 8"),
    (
        "HEAD=__u32 head",
        *(HEAD, "size", "8", "4"),
        "field `head` was `__u64`, 8 bytes, is `__u32`, 4 bytes",
    ),
    (
        "HEAD=__s64 head",
        *(HEAD, "type", "__u64", "__s64"),
        "field `head` was `__u64`, is `__s64`",
    ),
    (
        "HEAD=__u64 first",
        *(HEAD, "renamed", "head", "first"),
        "field `head` is called `first` now",
    ),
    (
        "FLAG_BITS=4",
        *(("value", "struct state", "flags"), "size", "3", "4"),
        "field `flags` was 3 bits, is 4",
    ),
    (
        "MODE_ON_VALUE=8",
        *(("value", "struct state", "mode"), "enumerator", "7", "8"),
        "field `mode` has MODE_ON = 8, had 7",
    ),
    (
        "MODE_TYPE=__u32",
        *(("value", "struct state", "mode"), "type", "enum mode", "__u32"),
        "field `mode` was `enum mode`, is `__u32`",
    ),
    (
        "SLOTS=5",
        *(("value", "struct state", "slots"), "count", "4", "5"),
        "field `slots` had 4 elements, has 5",
    ),
    (
        "SLOT_FIELD=__u16 size",
        *(("value.slots[]", "struct slot", "length"), "renamed", "length", "size"),
        "field `length` is called `size` now",
    ),
    (
        "SLOT_FIELD=__u32 length",
        *(("value.slots[]", "struct slot", "length"), "size", "2", "4"),
        "field `length` was `__u16`, 2 bytes, is `__u32`, 4 bytes",
    ),
    (
        "LABEL=__u64 label",
        *(("value", "struct state", "label"), "type", "char[8]", "__u64"),
        "field `label` was `char[8]`, is `__u64`",
    ),
    (
        "LABEL=",
        *(("value", "struct state", "label"), "gone", "56", ""),
        "field `label` is gone",
    ),
    (
        "LAST=__u64 last;",
        *(("value", "struct state", "last"), "new", "", "88"),
        "field `last` is new, at 88",
    ),
    (
        "CHOICE=__s32 high",
        *(("value", "struct state", "high"), "type", "__u32", "__s32"),
        "field `high` was `__u32`, is `__s32`",
    ),
    (
        "NEXT=struct another *next",
        *(("value", "struct state", "next"), "type", "struct other *", "struct another *"),
        "field `next` was `struct other *`, is `struct another *`",
    ),
    (
        "MATRIX=__u8 matrix[3][2]",
        *(("value", "struct state", "matrix"), "count", "2", "3"),
        "field `matrix` had 2 elements, has 3",
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("layout")


def differences(folder: Path, *defines: str) -> tuple[LayoutDifference, ...]:
    """Compare a variant with the plain program, which is loaded."""
    plain = folder / "plain.bpf.o"
    if not plain.exists():
        compile_bpf("layout", plain)
    with (
        BpfObject.open(plain) as old,
        BpfObject.open(compile_bpf("layout", folder / "new.bpf.o", *defines)) as new,
    ):
        old.load()
        return compare_state(new, old.maps).differences


@pytest.mark.parametrize(
    ("define", "where", "what", "before", "after", "words"),
    IN_A_STRUCT,
    ids=[row[0] for row in IN_A_STRUCT],
)
def test_a_change_in_a_struct_is_told_with_its_place(
    folder: Path,
    define: str,
    where: tuple[str, str, str],
    what: str,
    before: str,
    after: str,
    words: str,
) -> None:
    found = differences(folder, define)
    in_map = [one for one in found if one.state == "map"]
    in_bss = [one for one in found if one.state == ".bss"]
    assert len(in_map) == len(in_bss)  # the variable `device` has the same type
    place, struct, field = where
    text = f"{place}: {struct}: {words}"
    assert in_map[0] == LayoutDifference("map", place, struct, field, what, before, after, text)
    assert str(in_map[0]) == f"state map: {text}"
    assert in_bss[0].place == f"variable `device{place.removeprefix('value')}`"
    assert in_bss[0].text == f"{in_bss[0].place}: {struct}: {words}"


def test_what_has_moved_with_it_is_told_too(folder: Path) -> None:
    found = [one for one in differences(folder, "BEFORE_HEAD=__u64 extra;") if one.state == "map"]
    assert [one.field for one in found] == ["head", *MOVED_DOWN, "extra"]
    assert {one.what for one in found[:-1]} == {"moved"}
    assert (found[-1].what, found[-1].after) == ("new", "0")
    assert found[3].text.endswith("field `rest` moved from bit 131 to bit 195")


@pytest.mark.parametrize(
    ("define", "text"),
    [
        ("KIND=BPF_MAP_TYPE_ARRAY", "was a map of kind hash, is array"),
        ("KIND=BPF_MAP_TYPE_LRU_HASH", "was a map of kind hash, is lru_hash"),
        ("ENTRIES=17", "max_entries was 16, is 17"),
        ("FLAGS=BPF_F_NO_PREALLOC", "flags was 0x0, is 0x1"),
        ("KEY=__u64", "key was `__u32`, 4 bytes, is `__u64`, 8 bytes"),
        ("KEY=__s32", "key was `__u32`, is `__s32`"),
        ("KEY=struct slot", "key was `__u32`, 4 bytes, is `struct slot`, 8 bytes"),
    ],
)
def test_a_change_of_the_map_itself_is_told(folder: Path, define: str, text: str) -> None:
    (found,) = differences(folder, define)
    assert str(found) == f"state map: {text}"
    assert (found.struct, found.field) == ("", "")


@pytest.mark.parametrize(
    ("define", "text"),
    [
        (
            "TIMER=struct bpf_spin_lock",
            "state timers: value: struct timed: field `timer` was `struct bpf_timer`, "
            "is `struct bpf_spin_lock`",
        ),
        (
            "TIMER=struct pair",
            "state timers: value: struct timed: field `timer` was `struct bpf_timer`, "
            "is `struct pair`",
        ),
        (
            "KPTR",
            "state tasks: value: struct kept: field `task` was "
            "`struct task_struct * __kptr_untrusted`, is `struct task_struct * __kptr`",
        ),
        ("RENAMED_VARIABLE", "state .bss: variable `total` is called `sum` now"),
    ],
)
def test_timers_kernel_pointers_and_variables(folder: Path, define: str, text: str) -> None:
    (found,) = differences(folder, define)
    assert str(found) == text


@pytest.mark.parametrize(
    "define",
    ["SOMETHING=1", "EXTRA_NAME=, MODE_LOUD", "HEAD=unsigned long head", "NEXT=struct other *next"],
)
def test_what_reads_the_same_bytes_alike_is_no_difference(folder: Path, define: str) -> None:
    assert differences(folder, define) == ()


def test_a_map_against_itself_of_the_kernel_has_none(build: Compile) -> None:
    """The kernel may say less, or more, of a map than its object does."""
    with BpfObject.open(build("typed")) as old, BpfObject.open(build("typed")) as new:
        old.load()
        told = compare_state(new, old.maps)
        assert told.differences == ()
        assert set(told.carried.carried) >= {"elements", "untyped", "per_cpu", "queue", "timed"}
