# SPDX-License-Identifier: GPL-2.0-or-later
"""State carried over from a version to the next, and what is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from kvmbpf.errors import LayoutError, StateError
from kvmbpf.libbpf.carry import Carried, carry_over
from kvmbpf.libbpf.map import BpfMap
from kvmbpf.libbpf.object import BpfObject

from .conftest import Compile

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("no_fd_leak")]

STEP = struct.pack("=QQ", 1, 0)
EVERYTHING = {"entries", "per_cpu", ".data", ".bss"}


def test_equal_state_is_shared_and_constants_are_not(build: Compile) -> None:
    v1 = BpfObject.open(build("state", name="one"))
    v1.load()
    v1.program("step").test_run(STEP)
    v1.program("remember").test_run(struct.pack("=QQ", 5, 6))
    v1.globals["start"] = 77
    with v1, BpfObject.open(build("state", "VERSION=2", name="another")) as v2:
        done = carry_over(v2, v1.maps)
        assert set(done.carried) == EVERYTHING
        assert (done.new, done.dropped) == ((), ())
        v2.load()
        assert (v2.globals["count"], v2.globals["start"], v2.globals["limit"]) == (1, 77, 10)
        v1.program("step").test_run(STEP)  # both at work, as during an update
        v2.program("step").test_run(STEP)
        assert v1.globals["count"] == v2.globals["count"] == 3
        v1.close()
        assert v2.program("step").test_run(STEP).context == struct.pack("=QQ", 1, 4)
        assert v2.program("version").test_run(STEP).result == 2
        assert v2.map("entries").lookup(struct.pack("=I", 5)) == struct.pack("=II", 5, 6)


def test_state_is_carried_over_from_pins(build: Compile, bpffs: Path) -> None:
    with BpfObject.open(build("state")) as v1:
        v1.load()
        v1.program("step").test_run(STEP)
        for name, state in v1.maps.items():
            state.pin(bpffs / name.replace(".", "_"))
        names = list(v1.maps)
    old = {name: BpfMap.open_pinned(bpffs / name.replace(".", "_")) for name in names}
    with BpfObject.open(build("state", "VERSION=2", name="another")) as v2:
        assert set(carry_over(v2, old).carried) == EVERYTHING
        for found in old.values():
            found.close()
        v2.load()
        assert v2.globals["count"] == 1
        assert v2.globals["limit"] == 10


def test_new_and_dropped_maps_are_told(build: Compile) -> None:
    with (
        BpfObject.open(build("state")) as small,
        BpfObject.open(build("state", "EXTRA_MAP")) as big,
    ):
        small.load()
        done = carry_over(big, small.maps)
        assert done.new == ("extra",)
        big.load()
        with BpfObject.open(build("state")) as again:
            assert carry_over(again, big.maps).dropped == ("extra",)


@pytest.mark.parametrize(
    ("define", "words"),
    [
        ("COUNT_IS_NARROW", "state .bss: variable `count` was 8 bytes, is 4"),
        ("COUNT_IS_SIGNED", "state .bss: variable `count` was unsigned integer"),
        ("COUNT_INITIALISED", "state .bss: variable `count` went to .data"),
        ("COUNT_CONSTANT", "state .bss: variable `count` went to .rodata"),
        ("COUNT_GONE", "state .bss: variable `count` is gone"),
        ("HEAD_MOVED", "state .bss: variable `queue`.head moved from 0 to 8"),
        ("GROWN", "state .bss: variable `zzz` is new"),
        ("ENTRY_SWAPPED", "state entries: value.first moved from 0 to 4"),
        ("MORE_ENTRIES", "state entries: max_entries was 16, is 32"),
    ],
)
@pytest.mark.parametrize("through_pins", [False, True])
def test_a_changed_layout_is_refused_and_nothing_changed(
    build: Compile, bpffs: Path, define: str, words: str, through_pins: bool
) -> None:
    with BpfObject.open(build("state")) as v1:
        v1.load()
        v1.program("step").test_run(STEP)
        old: dict[str, BpfMap] = dict(v1.maps)
        if through_pins:
            for name in old:
                path = bpffs / name.replace(".", "_")
                v1.map(name).pin(path)
                old[name] = BpfMap.open_pinned(path)
        with BpfObject.open(build("state", define)) as v2:
            with pytest.raises(LayoutError, match=words):
                carry_over(v2, old)
            assert not any(found.reused for found in v2.maps.values())
        assert v1.globals["count"] == 1
        if through_pins:
            for found in old.values():
                found.close()


def test_nothing_old_means_everything_new(build: Compile) -> None:
    with BpfObject.open(build("state")) as v1:
        done = carry_over(v1, {})
        assert done.carried == done.dropped == ()
        assert set(done.new) == EVERYTHING
        assert isinstance(done, Carried)


def test_carry_over_after_load_is_refused(build: Compile) -> None:
    with BpfObject.open(build("state")) as v1, BpfObject.open(build("state")) as v2:
        v1.load()
        v2.load()
        with pytest.raises(StateError, match="before load"):
            carry_over(v2, v1.maps)
