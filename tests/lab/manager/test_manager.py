# SPDX-License-Identifier: GPL-2.0-or-later
"""The manager, on a VMM that it did not start: attach, update, detach, and its death."""

from __future__ import annotations

import errno
import functools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kvmbpf.errors import KernelCallError, LayoutError, StateError
from kvmbpf.kernel.libbpf import BpfLink
from kvmbpf.manager import Store, attach, detach, device_state, list_devices, update
from tests.lab.bare_vmm import BareVmm
from tests.lab.managed import VM, attach_object
from tests.lab.objects import device_object
from tests.lab.steered import placed_steered
from tests.places import ROOT

SEED = 20240612


def attach_steered(store: Store, vmm: BareVmm) -> None:
    attach(store, device_object("steered_v1"), placed_steered(), pid=vmm.pid, vm=VM)


def calls(store: Store) -> int:
    value = device_state(store, VM, "steered")["calls"]
    assert isinstance(value, int)
    return value


def assert_nothing_is_left(store: Store) -> None:
    assert list_devices(store) == []
    assert store.vms() == []
    assert not store.pin_dir.exists() or list(store.pin_dir.iterdir()) == []


def test_off_on_off(store: Store, vmm: BareVmm) -> None:
    assert vmm.reads() is None
    attach_steered(store, vmm)
    assert vmm.reads(10) == 0
    assert calls(store) == 10
    detach(store, "steered")
    assert vmm.reads() is None
    assert_nothing_is_left(store)


def test_the_documents_python_updates(store: Store, vmm: BareVmm, tmp_path: Path) -> None:
    page = ROOT / "docs/managing.md"
    code = page.read_text().split("```python\n")[1].split("```")[0]
    attach_object(store, vmm, "mapped_v1")
    shutil.copy(device_object("mapped_v2"), tmp_path / "counter.bpf.o")
    places = {"KVMBPF_RUN_DIR": str(store.run_dir), "KVMBPF_BPFFS": str(store.pin_dir.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | places,
        capture_output=True,
        text=True,
        check=True,
    )
    (found,) = list_devices(store)
    assert done.stdout.split()[0] == str(found.map_id)
    assert device_state(store, VM, "mapped")["version"] == 0  # no access yet
    assert vmm.reads() == 0
    assert device_state(store, VM, "mapped")["version"] == 2
    detach(store, "mapped")


def test_the_place_is_listed(store: Store, vmm: BareVmm) -> None:
    attach_steered(store, vmm)
    (found,) = list_devices(store)
    assert found.attached
    assert (found.record.vm, found.record.device, found.record.pid) == (VM, "steered", vmm.pid)
    assert [region.gpa for region in found.record.regions] == [0xFEF00000]
    assert [(irq.gsi, irq.trigger) for irq in found.record.irqs] == [(5, "edge"), (6, "level")]
    assert found.version is not None
    assert found.version.path == str(device_object("steered_v1"))


def test_a_second_attach_of_the_name_is_refused(store: Store, vmm: BareVmm) -> None:
    attach_steered(store, vmm)
    with pytest.raises(StateError, match="has a device steered already"):
        attach_steered(store, vmm)
    assert vmm.reads() == 0


def test_a_taken_place_is_refused_and_leaves_nothing(store: Store, vmm: BareVmm) -> None:
    attach_steered(store, vmm)
    with pytest.raises(KernelCallError) as caught:
        attach(store, device_object("steered_v2"), placed_steered(), pid=vmm.pid, vm="other")
    assert caught.value.errno == errno.EEXIST
    assert store.vms() == [VM]


def test_an_update_keeps_the_state(store: Store, vmm: BareVmm) -> None:
    attach_steered(store, vmm)
    vmm.reads(10)
    done = update(store, device_object("steered_v2"))
    assert done.applied
    assert done.carried.carried == (".bss",)
    assert [Path(version.path).name for version in done.record.versions] == ["steered_v2.bpf.o"]
    vmm.reads(5)
    state = device_state(store, VM, "steered")
    assert (state["calls"], state["version"]) == (15, 2)


def test_updates_under_load_lose_nothing(store: Store, vmm: BareVmm) -> None:
    attach_steered(store, vmm)
    count = 20_000
    vmm.start_reads(count)
    for _ in range(5):
        update(store, device_object("steered_v2"))
        update(store, device_object("steered_v1"))
    assert vmm.await_reads() == 0
    assert calls(store) == count


@pytest.mark.parametrize(
    ("name", "error", "sentence"),
    [
        ("other_layout", LayoutError, "variable `result` is gone"),
        ("other_device", StateError, "region sizes were"),
    ],
)
def test_an_update_that_does_not_fit_changes_nothing(
    store: Store, vmm: BareVmm, name: str, error: type[StateError], sentence: str
) -> None:
    attach_steered(store, vmm)
    vmm.reads(3)
    with pytest.raises(error, match=sentence):
        update(store, device_object(name))
    assert vmm.reads() == 0
    assert calls(store) == 4
    (found,) = list_devices(store)
    assert found.version is not None
    assert found.version.path == str(device_object("steered_v1"))


def test_nothing_attached_is_an_error(store: Store) -> None:
    with pytest.raises(StateError, match="no device steered"):
        update(store, device_object("steered_v1"))
    with pytest.raises(StateError, match="no device steered"):
        detach(store, "steered")


def test_two_managers_at_once(store: Store, vmm: BareVmm) -> None:
    with (
        store.lock(VM),
        pytest.raises(StateError, match=f"another kvmbpf, process {os.getpid()}, is changing it"),
    ):
        attach_steered(store, vmm)
    attach_steered(store, vmm)


def test_the_vms_death_leaves_nothing(store: Store, vmm: BareVmm) -> None:
    attach_steered(store, vmm)
    with BpfLink.open_pinned(store.pins(VM, "steered").link) as link:
        vmm.start_reads(1_000_000_000)
        vmm.kill()
        assert link.wait_detached(10)
    with pytest.raises(StateError, match="no device steered"):
        update(store, device_object("steered_v2"))
    assert_nothing_is_left(store)


def in_a_process_killed_after(delay_s: float, action: Callable[[], object]) -> bool:
    """Run an action in a child and kill it -9 after a time; tell whether it was done."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
        finally:
            os._exit(0)
    time.sleep(delay_s)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.WIFEXITED(status)


def test_a_manager_without_standard_input_attaches(store: Store, vmm: BareVmm) -> None:
    """The device's descriptor is then the first free one: 0."""

    def attach_without_input() -> None:
        os.close(0)
        attach_steered(store, vmm)

    assert in_a_process_killed_after(5, attach_without_input)
    assert vmm.reads() == 0


def test_a_manager_killed_in_attach_leaves_all_or_nothing(store: Store, vmm: BareVmm) -> None:
    draw = random.Random(SEED)  # noqa: S311
    print(f"seed {SEED}")
    attached = 0
    for _ in range(20):
        done = in_a_process_killed_after(draw.uniform(0, 0.4), lambda: attach_steered(store, vmm))
        found = list_devices(store)
        assert len(found) == 1 or not done
        if found:
            attached += 1
            assert vmm.reads() == 0
            update(store, device_object("steered_v2"))
            assert vmm.reads() == 0
            detach(store, "steered")
        assert vmm.reads() is None
        assert_nothing_is_left(store)
    print(f"{attached} of 20 were attached when their manager died")


def test_a_manager_killed_in_an_update_leaves_one_version(store: Store, vmm: BareVmm) -> None:
    draw = random.Random(SEED)  # noqa: S311
    print(f"seed {SEED}")
    attach_steered(store, vmm)
    expected = 0
    for turn in range(20):
        path = device_object(("steered_v2", "steered_v1")[turn % 2])
        in_a_process_killed_after(draw.uniform(0, 0.4), functools.partial(update, store, path))
        assert vmm.reads(3) == 0
        expected += 3
        assert calls(store) == expected
        (found,) = list_devices(store)
        assert found.version is not None
        answered_by = int(device_state(store, VM, "steered")["version"])
        assert found.version.path == str(device_object(f"steered_v{answered_by}"))
    update(store, device_object("steered_v2"))
    detach(store, "steered")
    assert_nothing_is_left(store)
