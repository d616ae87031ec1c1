# SPDX-License-Identifier: GPL-2.0-or-later
"""A natively compiled device: accesses, interrupts, variables, memory, its end."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmbpf.errors import BadFileError, KvmBpfError, StateError
from kvmbpf.testing import (
    Access,
    AccessDeclined,
    AccessError,
    AccessFaulted,
    Device,
    Irq,
    Reply,
)
from tests.kit import KIT, Op
from tests.places import ROOT

DEVICES = ROOT / "kvmbpf" / "devices"


@pytest.fixture
def dev() -> Iterator[Device]:
    with Device(KIT, memory=64, vcpus=2) as device:
        yield device


# accesses


def test_a_read_gives_the_low_bytes_of_the_answer(dev: Device) -> None:
    assert [dev.peek(Op.ANSWER, size) for size in range(1, 9)] == [
        (1 << 8 * size) - 1 for size in range(1, 9)
    ]


def test_a_device_sees_region_vcpu_and_width(dev: Device) -> None:
    assert dev.peek(Op.SEEN, 3, region=0, vcpu=1) == 1 << 8 | 3
    assert dev.try_peek(0, 8, region=1).value == (1 << 64) - 1


def test_a_declined_access_says_so(dev: Device) -> None:
    with pytest.raises(AccessDeclined) as caught:
        dev.peek(Op.DECLINE)
    assert caught.value.errno == errno.EOPNOTSUPP
    assert str(caught.value) == (
        "read, 4 bytes at 0x8 of region 0: the device declined (-95, EOPNOTSUPP)"
    )
    with pytest.raises(AccessDeclined, match="write of 0x5, 2 bytes at 0x8 of region 0"):
        dev.poke(Op.DECLINE, 5, 2)
    assert dev.try_peek(Op.DECLINE) == Reply(0, -errno.EOPNOTSUPP)
    assert dev.try_peek(Op.DECLINE).declined


def test_a_fault_says_so_and_reads_as_ones(dev: Device) -> None:
    with pytest.raises(AccessFaulted) as caught:
        dev.peek(Op.FAULT)
    assert caught.value.errno == errno.EIO
    assert isinstance(caught.value, AccessError | KvmBpfError)
    reply = dev.try_peek(Op.FAULT, 2)
    assert reply == Reply(0xFFFF, -errno.EIO)
    assert (reply.answered, reply.declined, reply.faulted) == (False, False, True)
    assert dev.try_poke(Op.FAULT, 1) == Reply(0, -errno.EIO)


def test_accesses_are_replayed_in_order(dev: Device) -> None:
    stream = [Access(True, Op.PUSH, 8, 5), Access(True, Op.POP, 8, 0), Access(False, Op.DECLINE)]
    assert [reply.result for reply in dev.replay(stream)] == [0, 0, -errno.EOPNOTSUPP]
    assert dev.globals["result"] == 5


@pytest.mark.parametrize(
    ("access", "words"),
    [
        (Access(False, 0xFFD, 4), "the region has 0x1000 bytes"),
        (Access(False, -1, 4), "the region has 0x1000 bytes"),
        (Access(False, 0, 0), "1 to 8 bytes, not 0"),
        (Access(False, 0, 9), "1 to 8 bytes, not 9"),
        (Access(True, 0, 1, 256), "0x100 does not fit 1 bytes"),
        (Access(True, 0, 1, -1), "does not fit"),
        (Access(False, 0, 4, 0, 2), "device kit has 2 regions, and no region 2"),
        (Access(False, 7, 2, 0, 1), "the region has 0x8 bytes"),
        (Access(False, 0, 4, 0, 0, 2), "the guest has 2 vCPUs, and no vCPU 2"),
    ],
)
def test_an_access_that_cannot_be_is_the_tests_mistake(
    dev: Device, access: Access, words: str
) -> None:
    with pytest.raises(StateError, match=words) as caught:
        dev.access(access)
    assert not isinstance(caught.value, AccessError)


# interrupts


def test_edges_are_listed_and_have_no_level(dev: Device) -> None:
    dev.poke(Op.IRQ, 0x001, 8)
    dev.poke(Op.IRQ, 0x007, 8)
    dev.poke(Op.IRQ, 0x000, 8)  # no edge
    assert dev.irqs == [(0, 1), (0, 1)]
    assert dev.irqs[0] == Irq(0, 1)
    with pytest.raises(StateError, match="irq 0 is edge-triggered: it has no level"):
        dev.level(0)


def test_a_line_keeps_its_level(dev: Device) -> None:
    assert dev.level(1) == 0
    assert dev.try_poke(Op.IRQ, 0x1FF, 8).irqs == {1: 1}
    assert dev.level(1) == 1
    dev.irqs.clear()
    assert dev.level(1) == 1
    assert dev.try_poke(Op.IRQ, 0x100, 8).irqs == {1: 0}
    assert (dev.level(1), dev.irqs) == (0, [(1, 0)])


def test_an_irq_that_is_not_there(dev: Device) -> None:
    for index, result in ((2, 0), (3, -errno.ENOENT), (31, -errno.ENOENT), (32, -errno.EINVAL)):
        dev.poke(Op.IRQ, index << 8 | 1, 8)
        assert dev.globals["result"] == result
    with pytest.raises(StateError, match="has 3 irqs, and no irq 3"):
        dev.level(3)


# reset


def test_reset_lets_lines_go_and_calls_the_device(dev: Device) -> None:
    dev.poke(Op.IRQ, 0x101, 8)
    dev.reset()
    assert dev.level(1) == 0
    assert dev.irqs == [(1, 1), (1, 0)]
    assert dev.globals["result"] == -errno.EOPNOTSUPP  # a kick in a reset


def test_a_failed_reset_says_what_the_device_returned(dev: Device) -> None:
    dev.globals["tiny"] = -5
    assert dev.try_reset() == -5
    with pytest.raises(StateError, match="device kit: KVMBPF_RESET returned -5"):
        dev.reset()


def test_reset_of_a_device_without_one() -> None:
    with (
        Device(DEVICES / "bench" / "bench.bpf.c") as bench,
        pytest.raises(StateError, match="device bench has no KVMBPF_RESET"),
    ):
        bench.reset()


# variables


def test_variables_come_in_their_types(dev: Device) -> None:
    assert dev.globals["result"] == 0
    assert dev.globals["flag"] is False
    assert dev.globals["name"] == b"kit\0\0\0\0\0"
    assert dev.globals["table"] == [0, 0, 0, 0]
    assert dev.globals["limit"] == 7
    assert dev.globals["point"]["x"] == -1
    assert set(dev.globals) >= {"result", "hidden", "text"}


def test_variables_are_written_in_their_types(dev: Device) -> None:
    dev.globals["tiny"] = -128
    dev.globals["flag"] = True
    dev.globals["name"] = b"12345678"
    dev.globals["table"] = [1, 2, 3, 1 << 31]
    dev.globals["point"] = {"y": -2, "part": b"\1\2\3\4", "high": 0xABC}
    assert dev.globals["tiny"] == -128
    assert dev.globals["flag"] is True
    assert dev.globals["table"] == [1, 2, 3, 1 << 31]
    point = dev.globals["point"]
    assert (point["x"], point["y"], point["whole"]) == (-1, -2, 0x04030201)
    assert (point["low"], point["high"]) == (0, 0xABC)


def test_a_written_variable_is_what_the_device_sees(dev: Device) -> None:
    dev.globals["gpa"] = 8
    dev.memory[8:16] = b"\1\2\3\4\5\6\7\x08"
    assert dev.peek(Op.GUEST, 8) == 0x0807060504030201
    dev.poke(Op.DECLINE + 0xE00, 1)
    assert dev.globals["last_op"] == Op.DECLINE + 0xE00


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("none", 1, "no global variable `none`; there are: "),
        ("limit", 1, "global `limit` is a constant"),
        ("tiny", 128, "global `tiny` is signed, 8 bits: 128 does not fit"),
        ("gpa", -1, "global `gpa` is unsigned, 64 bits: -1 does not fit"),
        ("gpa", b"a", "takes an integer, not bytes"),
        ("name", b"abc", "takes 8 bytes, not 3"),
        ("name", 5, "takes 8 bytes, not int"),
        ("table", [1, 2], "takes a list of 4, not of 2"),
        ("table", 1, "takes a list of 4, not int"),
        ("table", [0, 0, 0, "a"], r"global `table`\[3\] takes an integer, not str"),
        ("point", 4, "takes a dictionary, not int"),
        ("point", {"z": 1}, "no member `z`; there are: x, y, whole, part, low, high"),
        ("point", {"low": 16}, "global `point`.low has 4 bits: 16 does not fit"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(
    dev: Device, name: str, value: object, words: str
) -> None:
    before = dict(dev.globals)
    with pytest.raises(StateError, match=words):
        dev.globals[name] = value
    assert dict(dev.globals) == before


# guest memory


def test_guest_memory_is_read_and_written(dev: Device) -> None:
    dev.globals["gpa"] = 56
    dev.poke(Op.GUEST, 0x1122334455667788, 8)
    assert dev.globals["result"] == 0
    assert dev.memory[56:] == bytes.fromhex("8877665544332211")
    assert dev.peek(Op.GUEST, 8) == 0x1122334455667788


@pytest.mark.parametrize("gpa", [57, 64, (1 << 64) - 1])
def test_guest_memory_that_is_not_there(dev: Device, gpa: int) -> None:
    dev.globals["gpa"] = gpa
    before = bytes(dev.memory)
    dev.poke(Op.GUEST, 1, 8)
    assert dev.globals["result"] == -errno.EFAULT
    assert dev.memory == before
    assert dev.try_peek(Op.GUEST, 8).result == -errno.EFAULT


def test_a_test_may_make_the_memory_larger(dev: Device) -> None:
    dev.globals["gpa"] = 64
    dev.memory.extend(b"\xff" * 8)
    assert dev.peek(Op.GUEST, 8) == (1 << 64) - 1


# the host


def test_kicks_clamps_and_frequencies(dev: Device) -> None:
    dev.poke(Op.KICK, 1)
    assert (dev.kicks, dev.globals["result"]) == ([1], 0)
    dev.poke(Op.KICK, 2)
    assert (dev.kicks, dev.globals["result"]) == ([1], -errno.ENOENT)
    dev.poke(Op.UCLAMP, 700, vcpu=1)
    assert (dev.uclamps, dev.globals["result"]) == ({1: (700, 700)}, 0)
    dev.poke(Op.UCLAMP, 701)
    assert (dev.uclamps, dev.globals["result"]) == ({1: (700, 700)}, -errno.EINVAL)
    assert dev.peek(Op.FREQ, 8) == 0
    dev.set_cpu_freq(5, 9)
    assert dev.peek(Op.FREQ, 8) == 9 << 32 | 5


def test_the_log_has_what_was_said(dev: Device) -> None:
    dev.poke(Op.LOG, 0xABC)
    assert dev.log == ["value 2748 of kit, -1", "nothing"]
    assert dev.globals["text"].rstrip(b"\0") == b"<abc>"
    assert dev.globals["result"] == 6


def test_random_numbers_are_the_same_each_time() -> None:
    with Device(KIT) as a, Device(KIT) as b, Device(KIT, seed=1) as c:
        numbers = [[device.peek(Op.RANDOM) for _ in range(4)] for device in (a, b, c)]
    assert numbers[0] == numbers[1] != numbers[2]
    assert len(set(numbers[0])) == 4


# two of them, and the end


def test_two_devices_of_one_source_share_nothing() -> None:
    with Device(KIT) as a, Device(KIT) as b:
        a.poke(Op.ARRAY, 0, 8)
        a.poke(Op.IRQ, 0x101, 8)
        a.globals["tiny"] = 3
        assert (b.globals["tiny"], b.irqs, b.level(1)) == (0, [], 0)
        assert b.maps["array"][0]["count"] == 0
    with Device(KIT) as c:
        assert c.globals["tiny"] == 0


def test_a_closed_device_says_so(dev: Device) -> None:
    dev.poke(Op.TIMER, 5, 8)
    dev.close()
    dev.close()
    for use in (
        lambda: dev.peek(0),
        lambda: dev.poke(0, 0),
        lambda: dev.globals["tiny"],
        lambda: dev.advance(5),
        dev.reset,
    ):
        with pytest.raises(StateError, match=r"kit\.bpf\.c: the device is closed"):
            use()
    assert dev.irqs == []


# what cannot be tested


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match=r"none\.bpf\.c: no such file"):
        Device(tmp_path / "none.bpf.c")
    with pytest.raises(BadFileError, match="a directory, expected a C file"):
        Device(tmp_path)


def test_a_source_that_does_not_compile(tmp_path: Path) -> None:
    source = tmp_path / "bad.bpf.c"
    source.write_text("#include <kvmbpf.bpf.h>\nint f(void) { return missing; }\n")
    with pytest.raises(BadFileError, match=r"bad\.bpf\.c line 2 column 22: .*missing"):
        Device(source)


HEAD = (
    "#include <kvmbpf.bpf.h>\n"
    'KVMBPF_DEVICE(d, .compatible = "a,b", .regions = { KVMBPF_MMIO(16) });\n'
)
BODIES = (
    "KVMBPF_READ(struct kvmbpf_access *acc) { return 0; }\n"
    "KVMBPF_WRITE(struct kvmbpf_access *acc) { return 0; }\n"
)


def test_a_helper_that_is_not_native_is_named(tmp_path: Path) -> None:
    source = tmp_path / "helper.bpf.c"
    body = "KVMBPF_READ(struct kvmbpf_access *acc) { return bpf_get_numa_node_id(); }\n"
    source.write_text(HEAD + body + BODIES.splitlines()[1])
    with pytest.raises(BadFileError, match=r"line 3 .*bpf_get_numa_node_id"):
        Device(source)


def test_a_map_that_is_not_native_is_named(tmp_path: Path) -> None:
    source = tmp_path / "map.bpf.c"
    source.write_text(
        HEAD + "struct { __uint(type, BPF_MAP_TYPE_BLOOM_FILTER); __uint(max_entries, 1);\n"
        '__type(value, __u32); } seen SEC(".maps");\n' + BODIES
    )
    with pytest.raises(BadFileError, match="map seen is of type 30, which a native build"):
        Device(source)


def test_a_device_without_a_write(tmp_path: Path) -> None:
    source = tmp_path / "half.bpf.c"
    source.write_text(HEAD + BODIES.splitlines()[0] + "\nint kvmbpf_write(__u64 *c) { return 0; }")
    with pytest.raises(BadFileError, match=r"half\.bpf\.c: .*KVMBPF_WRITE"):
        Device(source)


def test_a_long_text_is_cut(tmp_path: Path) -> None:
    source = tmp_path / "long.bpf.c"
    body = 'KVMBPF_READ(struct kvmbpf_access *acc) { kvmbpf_log("%120u.", acc->len); return 0; }\n'
    source.write_text(HEAD + body + BODIES.splitlines()[1])
    with Device(source) as dev:
        dev.peek(0)
        assert dev.log == [" " * 111]


def test_a_source_elsewhere_finds_its_own_headers(tmp_path: Path) -> None:
    shutil.copytree(DEVICES / "demo", tmp_path / "demo")
    with Device(tmp_path / "demo" / "demo_v2.bpf.c") as demo:
        assert demo.peek(4) == 2
