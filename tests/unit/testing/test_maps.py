# SPDX-License-Identifier: GPL-2.0-or-later
"""Maps of a natively compiled device: as the device and as the test sees them."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from kvmbpf.errors import StateError
from kvmbpf.testing import Device
from tests.kit import KIT, Op


@pytest.fixture
def dev() -> Iterator[Device]:
    with Device(KIT) as device:
        yield device


def result(dev: Device, op: Op, value: int, flags: int = 0) -> int:
    """Do one thing, and return what the device was told."""
    dev.globals["flags"] = flags
    dev.poke(op, value, 8)
    found: int = dev.globals["result"]
    return found


def test_array_elements_are_always_there(dev: Device) -> None:
    assert [result(dev, Op.ARRAY, index) for index in (0, 3, 3, 4)] == [1, 1, 2, -1]
    view = dev.maps["array"]
    assert [view[index]["count"] for index in view] == [1, 0, 0, 2]
    assert len(view) == 4
    assert 4 not in view


def test_a_test_writes_an_array(dev: Device) -> None:
    dev.maps["array"][2] = {"count": 40}
    assert result(dev, Op.ARRAY, 2) == 41
    with pytest.raises(StateError, match=r"map `array`\[4\] cannot be set: E2BIG"):
        dev.maps["array"][4] = {"count": 1}
    with pytest.raises(StateError, match="its elements cannot be deleted"):
        del dev.maps["array"][0]
    with pytest.raises(StateError, match="a key of map `array` is unsigned, 32 bits"):
        dev.maps["array"][-1]


def test_hash_keys_come_and_go(dev: Device) -> None:
    assert result(dev, Op.HASH_GET, 5) == -1
    assert result(dev, Op.HASH_SET, 50 << 32 | 5) == 0
    assert result(dev, Op.HASH_GET, 5) == 50
    assert dict(zip(dev.maps["hash"], dev.maps["hash"].values, strict=True)) == {5: 50}
    assert result(dev, Op.HASH_DELETE, 5) == 0
    assert result(dev, Op.HASH_DELETE, 5) == -errno.ENOENT
    with pytest.raises(KeyError):
        dev.maps["hash"][5]
    with pytest.raises(KeyError):
        del dev.maps["hash"][5]


def test_hash_flags_and_a_full_hash(dev: Device) -> None:
    assert result(dev, Op.HASH_SET, 1, flags=2) == -errno.ENOENT
    assert result(dev, Op.HASH_SET, 1, flags=1) == 0
    assert result(dev, Op.HASH_SET, 1, flags=1) == -errno.EEXIST
    assert result(dev, Op.HASH_SET, 1, flags=2) == 0
    assert result(dev, Op.HASH_SET, 1, flags=3) == -errno.EINVAL
    assert result(dev, Op.HASH_SET, 2) == 0
    assert result(dev, Op.HASH_SET, 3) == -errno.E2BIG
    assert result(dev, Op.HASH_SET, 9 << 32 | 2) == 0
    with pytest.raises(StateError, match=r"map `hash`\[3\] cannot be set: E2BIG"):
        dev.maps["hash"][3] = 1
    assert result(dev, Op.EACH, 0) == 9


def test_a_deleted_value_stays_until_the_program_ends(dev: Device) -> None:
    dev.maps["hash"][7] = 77
    assert result(dev, Op.KEPT_VALUE, 7) == 77
    assert 7 not in dev.maps["hash"]
    assert result(dev, Op.KEPT_VALUE, 7) == -1


def test_an_lru_map_lets_the_oldest_go(dev: Device) -> None:
    assert [result(dev, Op.LRU_SET, value) for value in (1, 2, 3)] == [0, 0, 0]
    keys = [int.from_bytes(key, "little") for key in dev.maps["lru"]]
    assert keys == [2, 3]


@pytest.mark.parametrize(
    ("push", "pop", "name", "order"),
    [
        (Op.PUSH, Op.POP, "queue", [1, 2]),
        (Op.PUSH_STACK, Op.POP_STACK, "stack", [2, 1]),
    ],
)
def test_queues_and_stacks(dev: Device, push: Op, pop: Op, name: str, order: list[int]) -> None:
    assert [result(dev, push, value) for value in (1, 2, 3)] == [0, 0, -errno.E2BIG]
    assert dev.maps[name].values == [1, 2]
    assert [result(dev, pop, 0) for _ in range(3)] == [*order, -errno.ENOENT]
    for value in (1, 2, 3):
        assert result(dev, push, value, flags=2) == 0
    assert dev.maps[name].values == [2, 3]
    assert result(dev, push, 4, flags=1) == -errno.EINVAL


def test_a_ring_has_what_was_submitted(dev: Device) -> None:
    assert [result(dev, Op.RING, value) for value in (1, 0, 1)] == [0, 0, 0]
    assert dev.maps["ring"].values == [b"r" * 16, b"r" * 16]


def test_a_ring_is_read_at_once(dev: Device) -> None:
    for _ in range(4096 // 24 + 1):
        assert result(dev, Op.RING, 1) == 0


def test_a_loop_ends_when_it_is_told_to(dev: Device) -> None:
    assert result(dev, Op.LOOP, 4) == 4
    assert dev.globals["ticks"] == 6
    assert result(dev, Op.LOOP, 100) == 10
    assert result(dev, Op.LOOP, (1 << 23) + 1) == -errno.E2BIG
    assert result(dev, Op.LOOP, 1, flags=1) == -errno.EINVAL
