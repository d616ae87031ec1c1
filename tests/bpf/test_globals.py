# SPDX-License-Identifier: GPL-2.0-or-later
"""Global variables by name: of each type, before and after load, through a pin."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from kvmbpf.errors import StateError
from kvmbpf.kernel.libbpf.map import BpfMap
from kvmbpf.kernel.libbpf.object import BpfObject

from .conftest import Compile

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("no_fd_leak")]

STEP = struct.pack("=QQ", 3, 0)


def test_values_come_in_their_types(build: Compile) -> None:
    with BpfObject.open(build("state")) as obj:
        obj.load()
        obj.program("step").test_run(STEP)
        assert obj.globals.as_dict() == {
            "limit": 5,
            "start": -3,
            "count": 3,
            "queue": {"head": 1, "tail": 0},
            "tiny": -1,
            "small": 0xFFFF,
            "medium": -70000,
            "flag": True,
            "mode": 7,
            "bytes": bytes([0, 0, 0, 0, 9]),
        }
        assert obj.globals["flag"] is True


def test_a_written_value_is_what_the_program_sees(build: Compile) -> None:
    with BpfObject.open(build("state")) as obj:
        obj.load()
        obj.globals["count"] = (1 << 64) - 3
        obj.globals["start"] = -(1 << 63)
        obj.globals["bytes"] = b"abcde"
        run = obj.program("step").test_run(STEP)
        assert struct.unpack("=QQ", run.context)[1] == 0  # wrapped: all 64 bits counted
        run = obj.program("version").test_run(STEP)
        assert struct.unpack("=Qq", run.context)[1] == -(1 << 63)
        assert obj.globals["bytes"] == b"abcd\x09"


def test_initial_values_can_be_set_before_load(build: Compile) -> None:
    with BpfObject.open(build("state")) as obj:
        assert obj.globals["limit"] == 5
        obj.globals["limit"] = 2
        obj.globals["start"] = 11
        obj.globals["count"] = 40
        obj.load()
        assert (obj.globals["limit"], obj.globals["start"], obj.globals["count"]) == (2, 11, 40)
        assert obj.program("step").test_run(STEP).result == -7


def test_a_constant_is_constant_after_load(build: Compile) -> None:
    with BpfObject.open(build("state")) as obj:
        obj.load()
        with pytest.raises(StateError, match="constant since it was loaded"):
            obj.globals["limit"] = 1
        assert obj.globals["limit"] == 5


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("count", -1, "unsigned, 64 bits: -1 does not fit"),
        ("tiny", 128, "signed, 8 bits: 128 does not fit"),
        ("small", b"ab", "takes an integer, not bytes"),
        ("bytes", b"ab", "takes 5 bytes, not 2"),
        ("bytes", 3, "takes 5 bytes, not int"),
        ("none", 1, "no global variable `none`; there are: bytes, count"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(
    build: Compile, name: str, value: int | bytes, words: str
) -> None:
    with BpfObject.open(build("state")) as obj:
        obj.load()
        before = obj.globals.as_dict()
        with pytest.raises(StateError, match=words):
            obj.globals[name] = value
        assert obj.globals.as_dict() == before


def test_globals_through_a_pin(build: Compile, bpffs: Path) -> None:
    with BpfObject.open(build("state")) as obj:
        obj.load()
        obj.map("prog.bss").pin(bpffs / "bss")
        obj.map("prog.rodata").pin(bpffs / "rodata")
        with BpfMap.open_pinned(bpffs / "bss") as bss, BpfMap.open_pinned(bpffs / "rodata") as ro:
            assert (bss.section, ro.section) == (".bss", ".rodata")
            bss.globals["count"] = 8
            obj.program("step").test_run(STEP)
            assert bss.globals["count"] == 11
            assert ro.globals["limit"] == 5
            with pytest.raises(StateError, match="constant"):
                ro.globals["limit"] = 1
        with pytest.raises(StateError, match="is closed"):
            bss.memory(write=False)
