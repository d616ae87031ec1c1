# SPDX-License-Identifier: GPL-2.0-or-later
"""The manager is killed before every call that changes something.

All of an attach, an update and a detach, each in turn. What is left is the old
state or the new one, and nothing else once the next command has looked.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from kvmbpf.kernel.libbpf.btf import vmlinux_btf
from kvmbpf.manager import Store, detach, device_state, list_devices, update
from tests.lab.bare_vmm import BareVmm
from tests.lab.leaks import bpf_objects
from tests.lab.managed import VM, attach_object
from tests.lab.objects import device_object
from tests.lab.stopper import Ended, run_killed_at


@pytest.fixture
def vmm(store: Store) -> Iterator[BareVmm]:
    with BareVmm() as found:
        attach_object(store, found, "mapped_v1")  # loads here what each child then need not load
        detach(store, "mapped")
        vmlinux_btf()
        yield found


def at_each_call(action: Callable[[], object]) -> Iterator[Ended]:
    """Run an action again and again, killed one call later each time."""
    for number in itertools.count():
        ended = run_killed_at(action, number)
        yield ended
        if ended.done:
            print(f"killed before each of {number} calls: {' '.join(ended.calls)}")
            assert {"bpf", "flock", "openat"} <= set(ended.calls)
            return


def pins(store: Store) -> set[str]:
    """Return all names below the store's folder in bpffs, but those of folders."""
    found = store.pin_dir.rglob("*") if store.pin_dir.exists() else ()
    return {str(path.relative_to(store.pin_dir)) for path in found if not path.is_dir()}


def files(store: Store) -> set[str]:
    return {str(path.relative_to(store.run_dir)) for path in store.run_dir.rglob("*")}


def of_version(number: int) -> set[str]:
    own = {1: "first", 2: "second"}[number]
    folder = f"{VM}/mapped"
    return {f"{folder}/link", *(f"{folder}/maps/{name}" for name in ("@bss", "kept", own))}


def assert_nothing_is_left(store: Store) -> None:
    assert list_devices(store) == []
    assert pins(store) == set()
    assert files(store) == set()


def test_in_an_attach(store: Store, vmm: BareVmm) -> None:
    outcomes = []
    for ended in at_each_call(lambda: attach_object(store, vmm, "mapped_v1")):
        found = list_devices(store)
        outcomes.append(bool(found))
        if found:
            assert vmm.reads() == 0
            assert pins(store) == of_version(1)
            detach(store, "mapped")
        assert found or not ended.done
        assert vmm.reads() is None
        assert_nothing_is_left(store)
    assert outcomes == sorted(outcomes), "once attached, it is at every later call"
    assert set(outcomes) == {False, True}


def test_in_an_update(store: Store, vmm: BareVmm) -> None:
    attach_object(store, vmm, "mapped_v1")
    # The maps' types are of two objects from now on, as after each update below: each
    # takes a few calls to fetch, and all runs have to make the same ones.
    for name in ("mapped_v2", "mapped_v1"):
        update(store, device_object(name))
    assert vmm.reads(5) == 0
    expected = 5
    versions = []
    for ended in at_each_call(lambda: update(store, device_object("mapped_v2"))):
        assert vmm.reads(3) == 0
        expected += 3
        state = device_state(store, VM, "mapped")
        assert state["calls"] == expected
        (found,) = list_devices(store)
        version = int(state["version"])
        assert found.version is not None
        assert found.version.path == str(device_object(f"mapped_v{version}"))
        assert found.record.versions == (found.version,)
        assert pins(store) == of_version(version)
        assert files(store) == {"bare", "bare/mapped.json", "bare.lock"}
        assert version == 2 or not ended.done
        versions.append(version)
        if version == 2:
            update(store, device_object("mapped_v1"))
    assert versions == sorted(versions), "once switched, it is at every later call"
    assert set(versions) == {1, 2}
    detach(store, "mapped")
    assert_nothing_is_left(store)


def test_in_a_detach(store: Store, vmm: BareVmm) -> None:
    outcomes = []
    for ended in (
        at_each_call(lambda: detach(store, "mapped"))
        if attach_object(store, vmm, "mapped_v1")
        else ()
    ):
        found = list_devices(store)
        outcomes.append(not found)
        if found:
            assert vmm.reads() == 0
            assert pins(store) == of_version(1)
        else:
            assert vmm.reads() is None
            assert_nothing_is_left(store)
        assert not found or not ended.done
        if not ended.done and not found:
            attach_object(store, vmm, "mapped_v1")
    assert outcomes == sorted(outcomes), "once detached, it is at every later call"
    assert set(outcomes) == {False, True}


def test_nothing_of_all_that_is_in_the_kernel_still(store: Store, vmm: BareVmm) -> None:
    """Each kill's own remains are gone at once, not at the end of the tests only."""
    before = bpf_objects()
    for number in (10, 40):
        run_killed_at(lambda: attach_object(store, vmm, "mapped_v1"), number)
        list_devices(store)
    assert set(bpf_objects()) <= set(before)
