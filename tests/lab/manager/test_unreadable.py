# SPDX-License-Identifier: GPL-2.0-or-later
"""State that cannot be mapped, and devices that cannot be read, beside others that can."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kvmbpf.kernel.libbpf import BpfMap
from kvmbpf.manager import Store, detach, device_state, update
from kvmbpf.manager.record import SCHEMA
from tests.lab.bare_vmm import BareVmm
from tests.lab.managed import VM, attach_object, kvmbpf
from tests.lab.objects import device_object

OTHER = "other"
NOBODY = 65534


def listed(store: Store, *, without: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    """Return what is listed, by VM."""
    done = kvmbpf(store, "list", "--json", without=without)
    assert done.status == 0
    return {one["vm"]: one for one in json.loads(done.out)["devices"]}


# state that cannot be mapped


@pytest.mark.parametrize("kind", ["static", "shared"])
def test_state_is_shown_whether_it_can_be_mapped_or_not(
    store: Store, vmm: BareVmm, kind: str
) -> None:
    attach_object(store, vmm, f"sections_{kind}")
    assert vmm.reads(3) == 0
    state = {"count": 3, "begun": 10, "apart": 8}
    assert device_state(store, VM, "sections") == state
    assert listed(store)[VM]["state"] == state
    assert listed(store)[VM]["unreadable"] is None
    found = json.loads(kvmbpf(store, "info", "sections", "--json").out)
    assert {one["name"]: one["value"] for one in found["state"]} == state
    assert found["unreadable"] == []
    assert [one["name"] for one in found["maps"]] == [".bss", ".data", ".data.apart"]
    said = kvmbpf(store, "info", "sections").out.splitlines()
    assert any(line.split() == ["count", "3", "__u64"] for line in said)


@pytest.mark.parametrize("after", ["static", "shared"])
@pytest.mark.parametrize("before", ["static", "shared"])
def test_an_update_keeps_state_whether_either_can_be_mapped(
    store: Store, vmm: BareVmm, before: str, after: str
) -> None:
    attach_object(store, vmm, f"sections_{before}")
    assert vmm.reads(3) == 0
    done = update(store, device_object(f"sections_{after}"))
    assert set(done.carried.carried) == {".bss", ".data", ".data.apart"}
    assert vmm.reads(2) == 0
    assert listed(store)[VM]["state"] == {"count": 5, "begun": 12, "apart": 10}


def test_maps_of_every_kind_are_state(store: Store, vmm: BareVmm) -> None:
    attach_object(store, vmm, "kinds")
    assert vmm.reads(3) == 0
    assert vmm.writes(1)
    assert listed(store)[VM]["state"] == {"count": 3}
    found = json.loads(kvmbpf(store, "info", "kinds", "--json").out)
    assert found["unreadable"] == []
    kinds = {one["name"]: one["type"] for one in found["maps"]}
    assert kinds["outer"] == "array_of_maps"
    assert kinds["arena"] == "arena"
    assert len(kinds) == 13
    done = update(store, device_object("kinds"))
    assert set(done.carried.carried) == set(kinds)
    assert vmm.reads(2) == 0
    assert listed(store)[VM]["state"] == {"count": 5}


# devices that cannot be read


@pytest.fixture
def two(store: Store, vmm: BareVmm) -> Iterator[BareVmm]:
    """Give the VMM of the second of two devices, each in a VM of its own."""
    attach_object(store, vmm, "sections_static")
    with BareVmm() as second:
        attach_object(store, second, "mapped_v1", vm=OTHER)
        assert second.reads(2) == 0
        yield second
        if OTHER in store.vms():
            detach(store, "mapped", vm=OTHER)


def lose(path: Path, store: Store) -> None:
    path.unlink()


def damage(path: Path, store: Store) -> None:
    path.write_bytes(b"\xff{")


def make_newer(path: Path, store: Store) -> None:
    path.write_text(path.read_text().replace(f'"schema": {SCHEMA}', f'"schema": {SCHEMA + 1}'))


def make_foreign(path: Path, store: Store) -> None:
    """As of a kvmbpf that has another bus."""
    path.write_text(path.read_text().replace('"mmio"', '"spmi"'))


def put_a_folder_there(path: Path, store: Store) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lose, "No such file"),
        (damage, "not a device's record"),
        (make_newer, f"a record of schema {SCHEMA + 1}, by a newer kvmbpf"),
        (make_foreign, "not a device's record"),
        (put_a_folder_there, "Is a directory"),
    ],
)
def test_a_record_that_cannot_be_read_costs_its_own_device_only(
    store: Store, two: BareVmm, spoil: Callable[[Path, Store], None], reason: str
) -> None:
    path = store.record_path(VM, "sections")
    spoil(path, store)
    done = kvmbpf(store, "list")
    assert done.status == 0
    assert any(line.split()[:3] == [OTHER, str(two.pid), "mapped"] for line in lines(done.out))
    (row,) = [line for line in lines(done.out) if line.split()[0] == VM]
    assert row.split()[:6] == [VM, "-", "sections", "-", "-", "unreadable:"]
    assert reason in row
    assert "device sections of VM bare can only be detached: " in done.err
    found = listed(store)
    assert reason in found[VM]["unreadable"]
    assert (found[VM]["device"], found[VM]["attached"]) == ("sections", True)
    assert found[OTHER]["state"]["calls"] == 2
    assert_the_other_works(store, two)
    if path.is_dir():
        path.rmdir()
    assert kvmbpf(store, "detach", "sections").status == 0


def lines(text: str) -> list[str]:
    return text.splitlines()[1:]


def assert_the_other_works(store: Store, two: BareVmm) -> None:
    assert kvmbpf(store, "info", "mapped").status == 0
    assert update(store, device_object("mapped_v2"), vm=OTHER).applied
    assert two.reads() == 0
    assert listed(store)[OTHER]["state"]["calls"] == 3


@contextmanager
def in_the_place_of(pin: Path) -> Iterator[Path]:
    """Rename a pin, for something else to come into its place; put it back."""
    away = (pin.parent if pin.name == "link" else pin.parents[1]) / "away"
    pin.rename(away)
    yield pin
    pin.unlink(missing_ok=True)
    away.rename(pin)


def test_a_link_that_is_none_costs_its_own_device_only(store: Store, two: BareVmm) -> None:
    pins = store.pins(VM, "sections")
    with in_the_place_of(pins.link) as pin:
        with BpfMap.open_pinned(pins.maps / "@bss") as bss:
            bss.pin(pin)
        found = listed(store)
        assert found[VM]["unreadable"] == f"{pin}: it holds: map; expected: link"
        assert found[VM]["attached"] is None
        assert found[OTHER]["state"]["calls"] == 2
        done = kvmbpf(store, "list")
        assert (done.status, done.err) == (0, "")
        assert f"unreadable: {pin}: it holds: map" in done.out
        assert_the_other_works(store, two)
    assert listed(store)[VM]["unreadable"] is None


def test_what_is_no_link_goes_with_a_detach(store: Store, two: BareVmm) -> None:
    pins = store.pins(VM, "sections")
    pins.link.unlink()
    with BpfMap.open_pinned(pins.maps / "@bss") as bss:
        bss.pin(pins.link)
    assert kvmbpf(store, "detach", "sections").status == 0
    assert set(listed(store)) == {OTHER}


def test_a_section_that_is_gone_or_another_thing_is_told_with_the_rest(
    store: Store, two: BareVmm
) -> None:
    pins = store.pins(VM, "sections")
    with in_the_place_of(pins.maps / "@bss") as pin:
        os.link(pins.directory / "link", pin)
        found = listed(store)
        assert found[VM]["unreadable"] == f"state .bss: {pin}: it holds: link; expected: map"
        assert found[VM]["state"] == {"begun": 7, "apart": 5}
        assert found[OTHER]["state"]["calls"] == 2
        said = kvmbpf(store, "info", "sections")
        assert said.status == 0
        assert f"state .bss: {pin}: it holds: link" in said.out
        shown = json.loads(kvmbpf(store, "info", "sections", "--json").out)
        assert [one["name"] for one in shown["maps"]] == [".data", ".data.apart"]
        assert len(shown["unreadable"]) == 1
        assert_the_other_works(store, two)


def test_a_section_whose_pin_is_gone_is_told_and_not_begun_anew(
    store: Store, two: BareVmm, vmm: BareVmm
) -> None:
    assert vmm.reads(3) == 0
    pin = store.pins(VM, "sections").maps / "@bss"
    pin.unlink()
    found = listed(store)
    assert found[VM]["unreadable"] == "state .bss: its pin was removed"
    assert found[VM]["state"] == {"begun": 10, "apart": 8}
    assert found[OTHER]["state"]["calls"] == 2
    assert "state .bss: its pin was removed" in kvmbpf(store, "info", "sections").out
    done = kvmbpf(store, "update", str(device_object("sections_shared")))
    assert (done.status, done.out, len(done.err.splitlines())) == (13, "", 1)
    assert "the pin of its state .bss was removed" in done.err
    assert vmm.reads() == 0
    assert_the_other_works(store, two)


def test_a_vm_whose_folder_is_anothers_costs_its_own_devices_only(
    store: Store, two: BareVmm
) -> None:
    folder = store.pin_dir / VM
    os.chown(folder, NOBODY, NOBODY)
    none = ("CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH")
    done = kvmbpf(store, "list", without=none)
    assert done.status == 0
    assert any(line.split()[:3] == [OTHER, str(two.pid), "mapped"] for line in lines(done.out))
    found = listed(store, without=none)
    assert "EACCES" in found[VM]["unreadable"]
    assert found[VM]["device"] is None
    assert found[OTHER]["state"]["calls"] == 2
    assert kvmbpf(store, "info", "mapped", without=none).status == 0
    done = kvmbpf(store, "info", "sections", without=none)
    assert (done.status, len(done.err.splitlines())) == (10, 1)
    assert "EACCES" in done.err
    os.chown(folder, 0, 0)
    assert listed(store)[VM]["unreadable"] is None


def test_without_the_right_to_the_state_the_list_says_so(store: Store, two: BareVmm) -> None:
    for one in listed(store, without=("CAP_SYS_ADMIN",)).values():
        assert one["state"] is None
        assert one["unreadable"] == "state: it takes CAP_SYS_ADMIN to read it"
        assert one["attached"] is True
