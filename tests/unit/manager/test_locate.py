# SPDX-License-Identifier: GPL-2.0-or-later
"""Which VM a name means: real QEMUs without a machine, and records of dead and living ones."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmbpf.errors import KernelCallError, StateError
from kvmbpf.kernel.process import LivingProcess, ProcessId, find_process
from kvmbpf.manager.devices import detach_at
from kvmbpf.manager.info import find_vmm
from kvmbpf.manager.locate import locate
from kvmbpf.manager.opening import open_device
from kvmbpf.manager.store import Store
from kvmbpf.manager.watch import devices_of
from qemu_glue.vmms import qemu_of
from tests.unit.manager.test_record import RECORD

pytestmark = pytest.mark.unit
QEMU = ["qemu-system-x86_64", "-M", "none", "-nodefaults", "-display", "none"]
OWN = f"test-{os.getpid()}"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Give a store without a bpffs: what is in it cannot be swept, and must not be believed."""
    return Store(tmp_path / "run", tmp_path / "bpf")


@contextlib.contextmanager
def qemu(folder: Path, *name: str | bytes) -> Iterator[int]:
    """Run a QEMU of a name; give its pid."""
    ready = folder / f"ready{len(list(folder.iterdir()))}"
    command = [*QEMU, *name, "-pidfile", str(ready)]
    with subprocess.Popen(command) as process:
        try:
            deadline = time.monotonic() + 30
            while not ready.exists():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield process.pid
        finally:
            process.kill()


def registered(store: Store, name: str, process: ProcessId, home: str = "") -> None:
    """Write a record of a device, under a lock that keeps it from the sweep."""
    store.write(
        dataclasses.replace(
            RECORD, vm=name, pid=process.pid, start_ticks=process.start_ticks, home=home
        )
    )


def named(store: Store, name: str) -> int:
    with contextlib.closing(locate(store, pid=None, qmp=None, vm=name)) as found:
        assert found.name == name
        return found.pid


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("guest={},debug-threads=on", "{}"),
        ("{} vm.1", "{} vm.1"),
        ("guest={}/../x", "{}/../x"),
        ("{},,b", "{},b"),
        ("guest=-{}", "-{}"),
        ("b\u00fccher.{}", "b\u00fccher.{}"),
        ("guest={}" + "x" * 300, "{}" + "x" * 300),
        ("{}\x1b[31m\nred", "{}\x1b[31m\nred"),
        ("{}\udcff\udcfe", "{}\udcff\udcfe"),
    ],
)
def test_every_name_that_qemu_takes_is_found(
    tmp_path: Path, store: Store, said: str, name: str
) -> None:
    with qemu(tmp_path, "-name", os.fsencode(said.format(OWN))) as pid:
        assert named(store, name.format(OWN)) == pid
        with contextlib.closing(locate(store, pid=pid, qmp=None, vm=None)) as found:
            assert found.name == name.format(OWN)


@pytest.mark.parametrize("name", [" ", ".", ".."])
def test_a_name_of_a_blank_or_dots_is_one(tmp_path: Path, store: Store, name: str) -> None:
    with qemu(tmp_path, "-name", name) as pid:
        found = qemu_of(pid)
        assert found is not None
        assert found.name == name
        with contextlib.closing(locate(store, pid=pid, qmp=None, vm=None)) as located:
            assert located.name == name


def test_a_vm_without_a_name_is_called_by_its_process(tmp_path: Path, store: Store) -> None:
    for arguments in ([], ["-name", "guest="], ["-name", "debug-threads=on"]):
        with (
            qemu(tmp_path, *arguments) as pid,
            contextlib.closing(locate(store, pid=pid, qmp=None, vm=None)) as found,
        ):
            assert found.name == f"pid{pid}"


def test_a_dead_vms_record_takes_no_name(tmp_path: Path, store: Store) -> None:
    with qemu(tmp_path, "-name", OWN) as pid:
        dead = find_process(pid)
        assert dead is not None
    registered(store, OWN, dead)
    with pytest.raises(StateError, match=f"no VM {OWN}: no QEMU runs"):
        locate(store, pid=None, qmp=None, vm=OWN)
    registered(store, OWN, dead)
    with qemu(tmp_path, "-name", OWN) as pid:
        assert named(store, OWN) == pid
        with contextlib.closing(locate(store, pid=pid, qmp=None, vm=None)) as found:
            assert found.name == OWN


def test_a_record_of_a_reused_number_is_another_vms(tmp_path: Path, store: Store) -> None:
    with qemu(tmp_path, "-name", f"{OWN}-new") as pid:
        now = find_process(pid)
        assert now is not None
        earlier = ProcessId(pid, (now.start_ticks or 0) - 1)
        registered(store, f"{OWN}-old", earlier)
        with contextlib.closing(locate(store, pid=pid, qmp=None, vm=None)) as found:
            assert found.name == f"{OWN}-new"
        with pytest.raises(StateError, match="no VM"):
            locate(store, pid=None, qmp=None, vm=f"{OWN}-old")
        old = dataclasses.replace(RECORD, pid=pid, start_ticks=earlier.start_ticks)
        with pytest.raises(StateError, match="another one has its number now"):
            open_device(old)
        assert find_vmm(earlier).name is None
        assert find_vmm(now).name == "qemu-system-x86"
        with LivingProcess(pid) as process:
            registered(store, f"{OWN}-old", earlier)
            assert devices_of(store, f"{OWN}-old", process) == []


def test_two_vms_of_a_name_are_both_named(tmp_path: Path, store: Store) -> None:
    with qemu(tmp_path, "-name", OWN) as one, qemu(tmp_path, "-name", OWN) as other:
        with pytest.raises(StateError) as caught:
            locate(store, pid=None, qmp=None, vm=OWN)
        first, second = sorted((one, other))
        assert str(caught.value) == (
            f"VM {OWN} is process {first} (QEMU) and process {second} (QEMU): say which with --pid"
        )
        for pid in (one, other):
            with contextlib.closing(locate(store, pid=pid, qmp=None, vm=OWN)) as found:
                assert (found.pid, found.name) == (pid, OWN)


def test_two_vms_of_a_name_have_two_homes(tmp_path: Path, store: Store) -> None:
    with qemu(tmp_path, "-name", OWN) as one, qemu(tmp_path, "-name", OWN) as other:
        first, second = find_process(one), find_process(other)
        assert first is not None
        assert second is not None
        assert store.home_for(OWN, first) == OWN
        registered(store, OWN, first)
        assert store.home_for(OWN, first) == OWN
        assert store.home_for(OWN, second) == f"{OWN}~{other}"
        registered(store, OWN, second, f"{OWN}~{other}")
        store.forget(OWN, RECORD.device)
        assert store.home_for(OWN, second) == f"{OWN}~{other}"


def test_a_device_of_two_vms_of_a_name_is_told_apart_by_the_process(store: Store) -> None:
    registered(store, "a b", ProcessId(1, None))
    registered(store, "a b", ProcessId(2, None), "a%20b~2")
    registered(store, "c", ProcessId(3, None))
    device = RECORD.device
    assert store.find(device, "a b", 2) == "a%20b~2"
    assert store.find(device, "a b", 1) == "a%20b"
    assert store.find(device, pid=3) == "c"
    with pytest.raises(StateError) as caught:
        store.find(device, "a b")
    assert str(caught.value) == (
        f"device {device} is in VMs 'a b' (pid 1), 'a b' (pid 2): say which with --pid"
    )
    store.forget("a%20b~2", device)
    with pytest.raises(StateError, match="is in VMs 'a b', c: say which with --vm"):
        store.find(device)
    with pytest.raises(StateError, match="attached to VM 'a b' of process 9; see"):
        store.find(device, "a b", 9)


def test_a_name_like_anothers_fallback_is_ambiguous(tmp_path: Path, store: Store) -> None:
    with qemu(tmp_path) as nameless, qemu(tmp_path, "-name", f"pid{nameless}") as other:
        owner = find_process(nameless)
        assert owner is not None
        assert named(store, f"pid{nameless}") == other
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "sweep_all", lambda: None)  # a device that is attached
            registered(store, f"pid{nameless}", owner)
            with pytest.raises(StateError, match=r"\(known to kvmbpf\): say which with --pid"):
                locate(store, pid=None, qmp=None, vm=f"pid{nameless}")


def test_a_zombie_is_no_vm(tmp_path: Path, store: Store) -> None:
    with qemu(tmp_path, "-name", OWN) as pid:
        os.kill(pid, 9)
        with LivingProcess(pid) as process:
            assert process.wait(30)
        with pytest.raises(StateError, match=f"process {pid} has ended; its parent"):
            locate(store, pid=pid, qmp=None, vm=None)
        with pytest.raises(StateError, match="no VM"):
            locate(store, pid=None, qmp=None, vm=OWN)
    with pytest.raises(KernelCallError, match="ESRCH"):
        locate(store, pid=pid, qmp=None, vm=None)


def test_a_dead_home_is_detached_by_nobody(store: Store) -> None:
    registered(store, OWN, ProcessId(1, None))
    with pytest.raises(StateError, match=f"device dev of VM {OWN} is not attached any more"):
        detach_at(store, OWN, RECORD.device)
