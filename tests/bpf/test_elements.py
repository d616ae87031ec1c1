# SPDX-License-Identifier: GPL-2.0-or-later
"""Elements of maps, and variables, as values of their types."""

from __future__ import annotations

import json
import math
import struct
import threading
from pathlib import Path
from typing import Any

import pytest

from kvmbpf.errors import KernelCallError, StateError
from kvmbpf.kernel.libbpf.map import BpfMap
from kvmbpf.kernel.libbpf.object import BpfObject
from kvmbpf.kernel.libbpf.values import Enumerator, Given, plain

from .conftest import Compile

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("no_fd_leak")]

KEY = {"bus": 1, "slot": 2, "index": 3}
RAW_KEY = struct.pack("=HHI", 1, 2, 3)
NOTHING: dict[str, Any] = {
    "flag": 0,
    "count": 0,
    "delta": 0,
    "ready": False,
    "mode": 0,
    "wide": 0,
    "corners": [{"x": 0, "y": 0}, {"x": 0, "y": 0}],
    "numbers": [0, 0, 0],
    "label": bytes(8),
    "whole": 0,
    "low": 0,
    "high": 0,
    "raw": bytes(8),
    "named": {"code": 0, "ratio": 0.0},
    "weight": 0.0,
    "where": 0,
    "last": 0,
}


def loaded(build: Compile) -> BpfObject:
    obj = BpfObject.open(build("typed"))
    obj.load()
    return obj


def test_a_written_element_is_what_the_program_sees_and_back(build: Compile) -> None:
    with loaded(build) as obj:
        elements = obj.map("elements").elements
        elements[KEY] = {
            "flag": 1,
            "count": 7,
            "delta": -3,
            "ready": True,
            "mode": "MODE_ON",
            "wide": "WIDE_MOST",
            "corners": [{"x": -1}, {"x": 2, "y": 100}],
            "numbers": [1, 2, 3000],
            "label": "abc",
            "whole": 0x1_0000_0064,
            "named": {"ratio": 1.5},
            "weight": -2.25,
            "where": 0xFFFF_8000_0000_0000,
            "last": 6,
        }
        assert obj.program("change").test_run(RAW_KEY).result == 1
        assert obj.globals["sum"] == 1 + 7 - 3 + 3000 + 0x64 + 100
        found = elements[KEY]
        assert found == {
            "flag": 1,
            "count": 5,
            "delta": -8,
            "ready": True,
            "mode": found["mode"],
            "wide": 0x7FFFFFFF,
            "corners": [{"x": -300, "y": 0}, {"x": 2, "y": 100}],
            "numbers": [1, 2, 3000],
            "label": b"Xbc\0\0\0\0\0",
            "whole": 0x1_0000_0064,
            "low": 0x64,
            "high": 1,
            "raw": struct.pack("=II", 0x64, 1),
            "named": {"code": struct.unpack("=I", struct.pack("=f", 1.5))[0], "ratio": 1.5},
            "weight": -2.25,
            "where": 0xFFFF_8000_0000_0000,
            "last": 6,
        }
        assert found["ready"] is True
        assert isinstance(found["mode"], Enumerator)
        assert found["mode"] & 0xFFFFFFFF == 0xFFFFFFFF  # clang before 15 says no sign
        assert (found["mode"].name, repr(found["wide"])) == (
            "MODE_BROKEN",
            "WIDE_MOST (2147483647)",
        )
        assert obj.globals["whole"] == found


def test_what_is_read_can_be_written_back(build: Compile) -> None:
    with loaded(build) as obj:
        elements = obj.map("elements")
        raw = bytes(range(1, elements.value_size + 1))
        elements.update(RAW_KEY, raw)
        typed = elements.elements
        typed[KEY] = typed[KEY]
        once = elements.lookup(RAW_KEY)
        typed[KEY] = typed[KEY]
        assert elements.lookup(RAW_KEY) == once  # but for the padding, which is zero now
        assert typed[KEY]["label"] in raw
        assert json.loads(json.dumps(plain(typed[KEY])))["label"] == typed[KEY]["label"].hex()


def test_what_is_not_given_is_zero(build: Compile) -> None:
    with loaded(build) as obj:
        elements = obj.map("elements").elements
        elements[KEY] = {"numbers": [9, 9, 9], "label": "12345678"}
        elements[KEY] = {}
        assert elements[KEY] == NOTHING
        elements[KEY] = {"mode": -1}
        assert elements[KEY]["mode"].name == "MODE_BROKEN"
        elements[KEY] = {"numbers": [4]}
        assert elements[KEY] == {**NOTHING, "numbers": [4, 0, 0]}


def test_absent_and_deleted_elements(build: Compile) -> None:
    with loaded(build) as obj:
        elements = obj.map("elements").elements
        assert KEY not in elements
        assert elements.get(KEY) is None
        with pytest.raises(StateError, match=r"map elements has no element {'bus': 1"):
            elements[KEY]
        with pytest.raises(StateError, match="has no element"):
            del elements[KEY]
        elements[KEY] = {}
        assert KEY in elements
        del elements[KEY]
        assert list(elements) == []
        with pytest.raises(StateError, match="has no element"):
            del elements[KEY]
        with pytest.raises(KernelCallError, match=r"bpf_map_delete_elem\(timed\): EINVAL"):
            del obj.map("timed").elements[0]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"color": 1}, r"the value: struct element has no member `color`; it has: flag, count, de"),
        ({"count": 8}, r"the value.count is unsigned, 3 bits: 8 does not fit"),
        ({"delta": 8}, r"the value.delta is signed, 4 bits: 8 does not fit"),
        ({"delta": -9}, r"the value.delta is signed, 4 bits: -9 does not fit"),
        ({"corners": [{"x": 1 << 15}]}, r"the value.corners\[0\].x is signed, 16 bits: 32768"),
        ({"corners": [{}, {}, {}]}, r"the value.corners has 2 elements, not 3"),
        ({"corners": {}}, r"the value.corners takes a list, not dict"),
        ({"numbers": "123"}, r"the value.numbers takes a list, not str"),
        ({"mode": "MODE_LOUD"}, r"no `MODE_LOUD`; there are: MODE_OFF, MODE_ON, MODE_BROKEN"),
        ({"mode": 1 << 32}, r"the value.mode is \w+, 32 bits: 4294967296 does not fit"),
        ({"label": "123456789"}, r"the value.label takes 8 bytes, not 9"),
        ({"label": b"1"}, r"the value.label takes 8 bytes, not 1"),
        ({"label": 1}, r"the value.label takes 8 bytes, not int"),
        ({"low": 1, "whole": 2}, r"the value.whole shares bytes with another member"),
        ({"weight": "much"}, r"the value.weight takes a number, not str"),
        ({"last": 1.5}, r"the value.last takes an integer, not float"),
        (7, r"the value takes a dict, not int"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(build: Compile, value: Given, words: str) -> None:
    with loaded(build) as obj:
        elements = obj.map("elements").elements
        elements[KEY] = {"last": 3}
        with pytest.raises(StateError, match=words):
            elements[KEY] = value
        assert elements[KEY] == {**NOTHING, "last": 3}


def test_a_key_that_does_not_fit_is_refused(build: Compile) -> None:
    with loaded(build) as obj:
        elements = obj.map("elements").elements
        with pytest.raises(StateError, match="map elements: the key takes a dict, not int"):
            elements.get(5)
        with pytest.raises(StateError, match=r"the key.bus is unsigned, 16 bits: -1 does not fit"):
            elements[{"bus": -1}] = {}


def test_a_full_map_is_told_by_the_kernel(build: Compile) -> None:
    with loaded(build) as obj:
        elements = obj.map("elements").elements
        for index in range(8):
            elements[{"index": index}] = {}
        with pytest.raises(KernelCallError, match=r"bpf_map_update_elem\(elements\): E2BIG"):
            elements[{"index": 8}] = {}


def test_keys_come_each_once(build: Compile) -> None:
    with loaded(build) as obj:
        many = obj.map("many").elements
        assert list(many) == []
        for key in range(300):
            many[key] = key * 2
        assert sorted(many) == list(range(300))
        assert dict(many.items()) == {key: key * 2 for key in range(300)}
        for key in many:  # deleting what was just given is the worst for the kernel's walk
            del many[key]
        assert list(many) == []


def test_a_walk_beside_changes_ends_and_repeats_nothing(build: Compile) -> None:
    with loaded(build) as obj:
        many = obj.map("many")
        stop = threading.Event()

        def churn() -> None:
            while not stop.is_set():
                for number in range(200):
                    many.update(struct.pack("=I", number), bytes(4))
                for number in range(200):
                    many.delete(struct.pack("=I", number))

        thread = threading.Thread(target=churn)
        thread.start()
        try:
            for _ in range(100):
                keys = list(many.raw_keys())
                assert len(keys) == len(set(keys))
        finally:
            stop.set()
            thread.join()


def test_without_types_there_are_bytes(build: Compile) -> None:
    with loaded(build) as obj:
        untyped = obj.map("untyped").elements
        untyped[3] = b"abcdef"
        assert dict(untyped.items()) == {0: bytes(6), 1: bytes(6), 2: bytes(6), 3: b"abcdef"}
        with pytest.raises(StateError, match="the value takes 6 bytes, not 3"):
            untyped[0] = b"abc"
        with pytest.raises(StateError, match="the value takes 6 bytes, not str"):
            untyped[0] = "abcdef"
        assert 4 not in untyped
        with pytest.raises(KernelCallError, match="E2BIG"):
            untyped[4] = bytes(6)


def test_what_is_the_kernel_s_is_left_out(build: Compile) -> None:
    with loaded(build) as obj:
        timed = obj.map("timed").elements
        assert timed[0] == {"before": 0, "after": 0}
        timed[0] = {"before": 4, "after": 5}
        obj.program("keep").test_run()
        assert timed[0] == {"before": 4, "after": 6}
        for name in ("lock", "timer"):
            with pytest.raises(StateError, match=rf"the value.{name} is the kernel's: leave it"):
                timed[0] = {name: b""}


def test_a_per_cpu_element_has_a_value_for_each_cpu(build: Compile) -> None:
    with loaded(build) as obj:
        per_cpu = obj.map("per_cpu").elements
        assert per_cpu.get(5) is None
        possible = Path("/sys/devices/system/cpu/possible").read_text()
        cpus = int(possible.strip().rpartition("-")[2]) + 1
        values = [{"x": cpu, "y": -cpu} for cpu in range(cpus)]
        per_cpu[5] = values
        assert dict(per_cpu.items()) == {5: values}
        for wrong in (values * 2, values[1:], {"x": 1}, b"", 4):
            with pytest.raises(StateError, match=rf"is a list of {cpus}, one for each possible"):
                per_cpu[5] = wrong
        assert per_cpu[5] == values


def test_a_map_without_keys_has_no_elements(build: Compile) -> None:
    with (
        loaded(build) as obj,
        pytest.raises(StateError, match="map queue has no keys"),
    ):
        _ = obj.map("queue").elements


def test_elements_through_a_pin_have_the_same_types(build: Compile, bpffs: Path) -> None:
    with loaded(build) as obj:
        obj.map("elements").pin(bpffs / "elements")
        obj.map("elements").elements[KEY] = {"label": "pinned", "mode": 7}
    with BpfMap.open_pinned(bpffs / "elements") as found:
        typed = found.elements
        assert typed[KEY]["label"] == b"pinned\0\0"
        assert typed[KEY]["mode"].name == "MODE_ON"
        typed[KEY] = {"last": 8}
        assert typed[KEY]["last"] == 8
    with pytest.raises(StateError, match="map elements is closed"):
        typed.get(KEY)


def test_variables_have_the_same_values(build: Compile) -> None:
    with BpfObject.open(build("typed")) as obj:
        obj.globals["path"] = [{"x": 1}, {"x": -2, "y": 3}]
        obj.globals["banner"] = "bye"
        assert obj.globals["mode"].name == "MODE_ON"
        obj.load()
        assert obj.globals["banner"] == b"bye".ljust(16, b"\0")
        obj.globals["mode"] = "MODE_OFF"
        assert obj.globals["mode"] == 0
        obj.map("elements").elements[KEY] = {}
        obj.program("change").test_run(RAW_KEY)
        assert obj.globals["path"] == [{"x": 1, "y": 0}, {"x": -2, "y": 3}, {"x": 0, "y": 9}]
        with pytest.raises(StateError, match=r"global `path`\[1\].y is signed, 16 bits"):
            obj.globals["path"] = [{}, {"y": 1 << 20}]
        obj.globals["whole"] = {"weight": math.pi}
        assert obj.globals["whole"] == {**NOTHING, "weight": math.pi}
