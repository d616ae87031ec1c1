# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.manager.record: what is written is what is read, and buses are kept apart."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from pathlib import Path

import pytest

from kvmbpf.errors import BadFileError
from kvmbpf.manager.record import (
    DeviceRecord,
    IrqRecord,
    Limits,
    ObjectVersion,
    RegionRecord,
    read_record,
)
from kvmbpf.manager.store import Store
from kvmbpf.model.spec import Bus

RECORD = DeviceRecord(
    vm="vm",
    device="dev",
    pid=1,
    backend="kernel",
    compatible=("a,b", "a,c"),
    state_version=1,
    regions=(RegionRecord(0xFEF00000, 0x1000), RegionRecord(0xD00, 8, "pio")),
    irqs=(IrqRecord(5, "edge"),),
    versions=(ObjectVersion(1, "dev.bpf.o", "0" * 64, (".bss",), 1.5),),
    limits=Limits(3, 1_000_000),
    attached_s=1.5,
    device_id=7,
    manager=2,
    reason="because",
    concurrent=False,
    start_ticks=12345,
)


def write(path: Path, raw: dict[str, object]) -> Path:
    path.write_text(json.dumps(raw))
    return path


def test_a_record_reads_back(tmp_path: Path) -> None:
    assert read_record(write(tmp_path / "r.json", RECORD.to_json())) == RECORD


def test_a_record_from_before_there_were_start_times_is_read(tmp_path: Path) -> None:
    raw = RECORD.to_json() | {"schema": 2}
    del raw["start_ticks"]
    found = read_record(write(tmp_path / "r.json", raw))
    assert found == dataclasses.replace(RECORD, start_ticks=None)
    assert found.home == RECORD.vm


@pytest.mark.parametrize("start", ["12345", 1.5, [], {}])
def test_a_start_time_that_is_none(start: object, tmp_path: Path) -> None:
    path = write(tmp_path / "r.json", RECORD.to_json() | {"start_ticks": start})
    with pytest.raises(BadFileError, match="not a device's record: start_ticks"):
        read_record(path)


@pytest.mark.parametrize("vm", ["my vm.1", "..", "a/b", "\udcff\x1b[2J", "a" * 300])
def test_a_name_is_kept_exactly_and_no_part_of_a_path(vm: str, tmp_path: Path) -> None:
    record = dataclasses.replace(RECORD, vm=vm, home="")
    store = Store(tmp_path / "run", tmp_path / "bpf")
    store.write(record)
    (home,) = store.vms()
    assert store.read(home, record.device) == record
    assert store.name_of(home) == vm
    assert [path.name for path in (tmp_path / "run").iterdir()] == [home]


def test_a_record_is_of_the_home_that_it_is_in(tmp_path: Path) -> None:
    store = Store(tmp_path / "run", tmp_path / "bpf")
    second = dataclasses.replace(RECORD, home=f"vm~{RECORD.pid}")
    store.write(second)
    assert store.read("vm~1", "dev") == second


def test_a_record_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    path = write(tmp_path / "r.json", RECORD.to_json())
    assert read_record(path) == RECORD
    other = dataclasses.replace(RECORD, pid=RECORD.pid + 1)
    write(path, other.to_json())
    assert read_record(path) == other
    path.write_bytes(b"\xff")
    with pytest.raises(BadFileError, match="not a device's record"):
        read_record(path)
    path.unlink()
    with pytest.raises(BadFileError, match="not a device's record"):
        read_record(path)


def test_its_place_keeps_the_bus() -> None:
    placed = RECORD.placed()
    assert [region.bus for region in placed.spec.regions] == [Bus.MMIO, Bus.PIO]
    assert placed.regions == (0xFEF00000, 0xD00)
    assert [region.on_ports for region in RECORD.regions] == [False, True]


def test_a_record_from_before_ports_is_memory(tmp_path: Path) -> None:
    raw = RECORD.to_json()
    raw["regions"] = [{"gpa": 0xFEF00000, "size": 0x1000}]
    found = read_record(write(tmp_path / "r.json", raw))
    assert found.regions == (RegionRecord(0xFEF00000, 0x1000, "mmio"),)


@pytest.mark.parametrize(("schema", "age"), [(1, "an older"), (4, "a newer")])
def test_a_record_of_another_schema(schema: int, age: str, tmp_path: Path) -> None:
    path = write(tmp_path / "r.json", RECORD.to_json() | {"schema": schema, "compatible": "a,b"})
    with pytest.raises(BadFileError) as caught:
        read_record(path)
    assert str(caught.value) == (
        f"{path}: a record of schema {schema}, by {age} kvmbpf; this one reads schema 2 to 3; "
        "detach the device with the kvmbpf that attached it"
    )


@pytest.mark.parametrize("schema", [None, "2", [], {}])
def test_a_schema_that_is_no_number(schema: object, tmp_path: Path) -> None:
    path = write(tmp_path / "r.json", RECORD.to_json() | {"schema": schema})
    with pytest.raises(BadFileError, match="not a device's record: schema"):
        read_record(path)


@pytest.mark.parametrize("compatible", ["a,b", [], [1], None, {"a": "b"}])
def test_a_compatible_that_is_no_list(compatible: object, tmp_path: Path) -> None:
    path = write(tmp_path / "r.json", RECORD.to_json() | {"compatible": compatible})
    with pytest.raises(BadFileError, match="compatible is no list of strings"):
        read_record(path)


def test_an_update_may_not_be_of_another_device() -> None:
    other = replace(RECORD.placed().spec, compatible=("a,b",))
    assert RECORD.difference(other) == "compatible was a,b a,c, is a,b"


@pytest.mark.parametrize("bus", ["usb", "", 1, None])
def test_an_unknown_bus(bus: object, tmp_path: Path) -> None:
    raw = RECORD.to_json()
    raw["regions"] = [{"gpa": 0, "size": 1, "bus": bus}]
    with pytest.raises(BadFileError, match="not a device's record"):
        read_record(write(tmp_path / "r.json", raw))


def test_an_update_may_not_move_to_another_bus() -> None:
    spec = RECORD.placed().spec
    assert RECORD.difference(spec) is None
    moved = replace(spec, regions=tuple(replace(one, bus=Bus.PIO) for one in spec.regions))
    assert RECORD.difference(moved) == ("region buses were ['mmio', 'pio'], are ['pio', 'pio']")


VERSION = RECORD.to_json()["versions"][0]


@pytest.mark.parametrize(
    "changed",
    [
        {"pid": "1"},
        {"pid": None},
        {"vm": 1},
        {"reason": None},
        {"concurrent": "no"},
        {"attached_s": "now"},
        {"attached_s": float("nan")},
        {"attached_s": 1e300},
        {"attached_s": -1},
        {"regions": [{"gpa": "0", "size": 1, "bus": "mmio"}]},
        {"regions": [{"gpa": 0, "size": None, "bus": "mmio"}]},
        {"irqs": [{"gsi": "5", "trigger": "edge"}]},
        {"irqs": [{"gsi": 5, "trigger": "both"}]},
        {"limits": {"max_faults": "3", "max_run_ns": None}},
        {"versions": [VERSION | {"path": None}]},
        {"versions": [VERSION | {"map_id": "1"}]},
        {"versions": [VERSION | {"maps": [1]}]},
        {"versions": [VERSION | {"loaded_s": float("inf")}]},
    ],
    ids=str,
)
def test_values_of_another_kind_are_no_record(changed: dict[str, object], tmp_path: Path) -> None:
    path = write(tmp_path / "r.json", RECORD.to_json() | changed)
    with pytest.raises(BadFileError, match="not a device's record"):
        read_record(path)


def test_a_record_without_end_is_none(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("[" * 100_000)
    with pytest.raises(BadFileError, match="not a device's record"):
        read_record(path)


def test_whole_seconds_are_a_time_too(tmp_path: Path) -> None:
    path = write(tmp_path / "r.json", RECORD.to_json() | {"attached_s": 2})
    assert read_record(path).attached_s == 2


def test_another_devices_record_is_not_this_ones(tmp_path: Path) -> None:
    store = Store(tmp_path, tmp_path)
    for vm, device in (("vm", "other"), ("other", "dev")):
        path = store.record_path(vm, device)
        path.parent.mkdir(exist_ok=True)
        write(path, RECORD.to_json())
        with pytest.raises(BadFileError, match="not its device's record: of device dev of VM vm"):
            store.read(vm, device)
