# SPDX-License-Identifier: GPL-2.0-or-later
"""State carried over from a version to the next, and what is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from kvmbpf.errors import LayoutError, StateError
from kvmbpf.kernel.libbpf.carry import Carried, carry_over, compare_state, is_header_log
from kvmbpf.kernel.libbpf.map import BpfMap
from kvmbpf.kernel.libbpf.object import BpfObject
from kvmbpf.kernel.libbpf.ringbuf import RingBuffer

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
        (
            "COUNT_IS_NARROW",
            "state .bss: variable `count` was `__u64`, 8 bytes, is `__u32`, 4 bytes",
        ),
        ("COUNT_IS_SIGNED", "state .bss: variable `count` was `__u64`, is `__s64`"),
        ("COUNT_INITIALISED", "state .bss: variable `count` went to .data"),
        ("COUNT_CONSTANT", "state .bss: variable `count` went to .rodata"),
        ("COUNT_GONE", "state .bss: variable `count` is called `total` now"),
        (
            "HEAD_MOVED",
            "state .bss: variable `queue`: field `head` moved from 0 to 8; and 1 more difference",
        ),
        ("GROWN", "state .bss: variable `zzz` is new"),
        ("ENTRY_SWAPPED", "state entries: value: struct entry: field `first` moved from 0 to 4"),
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


def test_a_comparison_changes_nothing_and_tells_all(build: Compile) -> None:
    with BpfObject.open(build("state")) as v1, BpfObject.open(build("state")) as same:
        v1.load()
        told = compare_state(same, v1.maps)
        assert told.differences == ()
        assert set(told.carried.carried) == EVERYTHING
        assert not any(found.reused for found in same.maps.values())
        same.load()
        assert same.map("entries").id != v1.map("entries").id
        with pytest.raises(StateError, match="before load"):
            compare_state(same, v1.maps)
        with BpfObject.open(build("state", "ENTRY_SWAPPED", "MORE_ENTRIES", "GROWN")) as other:
            told = compare_state(other, v1.maps)
            assert [(one.state, one.what) for one in told.differences] == [
                ("entries", "moved"),
                ("entries", "moved"),
                ("entries", "max_entries"),
                (".bss", "new"),
            ]
            with pytest.raises(LayoutError) as caught:
                carry_over(other, v1.maps)
            assert caught.value.differences == told.differences
            first = "state entries: value: struct entry: field `first` moved from 0 to 4"
            assert str(caught.value) == f"{other.path}: {first}; and 3 more differences"


LISTEN = {"kvmbpf_log_ring", ".data.kvmbpf_log"}


def test_who_listens_to_the_header_s_log_hears_the_new_version(build: Compile) -> None:
    with BpfObject.open(build("log")) as v1, BpfObject.open(build("log", name="two")) as v2:
        v1.load()
        v1.globals["kvmbpf_log_listeners"] = 1
        with RingBuffer(v1.map("kvmbpf_log_ring")) as ring:
            assert set(carry_over(v2, v1.maps).carried) >= LISTEN
            v2.load()
            assert v2.program("say").test_run().result == 0
            assert list(ring.records(timeout_s=0)) == [struct.pack("=Q", 1)]


@pytest.mark.parametrize(
    ("define", "replaced"),
    [
        ("RING_BYTES=8192", "kvmbpf_log_ring"),
        ("COUNTED", ".data.kvmbpf_log"),
    ],
)
def test_another_log_of_the_header_is_replaced_not_refused(
    build: Compile, define: str, replaced: str
) -> None:
    with BpfObject.open(build("log")) as v1, BpfObject.open(build("log", define)) as v2:
        v1.load()
        v1.program("say").test_run()
        done = carry_over(v2, v1.maps)
        assert done.new == (replaced,)
        assert {name for name in done.carried + done.new if is_header_log(name)} == LISTEN
        assert replaced not in done.carried + done.dropped
        v2.load()
        assert v2.globals["count"] == 1


def test_a_section_of_the_author_s_own_is_state(build: Compile) -> None:
    with BpfObject.open(build("log")) as v1, BpfObject.open(build("log", "OWN_GROWN")) as v2:
        v1.load()
        with pytest.raises(LayoutError, match=r"state \.data\.own: variable `other` is new"):
            carry_over(v2, v1.maps)


def test_a_size_that_libbpf_chooses_is_no_difference(build: Compile, bpffs: Path) -> None:
    with BpfObject.open(build("perf")) as v1:
        v1.load()
        v1.map("events").pin(bpffs / "events")
    with BpfMap.open_pinned(bpffs / "events") as old:
        with BpfObject.open(build("perf")) as v2:
            assert carry_over(v2, {"events": old}).carried == ("events",)
            v2.load()
            assert v2.map("events").id == old.id
        with BpfObject.open(build("perf", "ENTRIES=1")) as v3:
            (difference,) = compare_state(v3, {"events": old}).differences
            assert (difference.what, difference.after) == ("max_entries", "1")
