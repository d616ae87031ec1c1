# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of VMs end to end: odd ones, one that is used again, one that two VMs have."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmbpf.errors import StateError
from kvmbpf.manager import Store, attach, device_state, list_devices
from kvmbpf.manager.devices import find_device
from kvmbpf.model.objfile import read_device
from kvmbpf.model.placement import Placed
from kvmbpf.model.vm_name import home_of, shown
from tests.lab.bare_vmm import BareVmm
from tests.lab.managed import attach_object, kvmbpf
from tests.lab.objects import device_object
from tests.lab.pace import PACE
from tests.lab.steered import GPA

QEMU = ("qemu-system-x86_64", "-M", "q35,accel=kvm", "-nodefaults", "-display", "none", "-S")
V1, V2 = "mapped_v1", "mapped_v2"


def ok(store: Store, *arguments: str) -> str:
    done = kvmbpf(store, *arguments)
    assert (done.status, done.err) == (0, "")
    return done.out


@pytest.mark.parametrize(
    "name", ["my vm.1", "..", "-x", "a/b", "x" * 300, "b\u00fccher", "\x1b[31m\n\udcff"]
)
def test_an_odd_name_works_in_every_command(store: Store, vmm: BareVmm, name: str) -> None:
    pid, by_name = str(vmm.pid), f"--vm={name}"
    out = ok(store, "attach", str(device_object(V1)), "--pid", pid, by_name)
    assert out.startswith(f"attached to VM {shown(name)} (pid {pid}): device mapped ")
    assert vmm.reads(3) == 0
    (row,) = ok(store, "list").splitlines()[1:]
    assert row.isprintable()
    assert row.startswith(f"{shown(name)} ")
    assert row.removeprefix(shown(name)).split()[:2] == [pid, "mapped"]
    (found,) = json.loads(ok(store, "list", "--json"))["devices"]
    assert (found["vm"], found["pid"], found["state"]["calls"]) == (name, vmm.pid, 3)
    info = json.loads(ok(store, "info", "mapped", by_name, "--json"))
    assert (info["vm"], info["vmm"]["pid"]) == (name, vmm.pid)
    assert all(line.isprintable() for line in ok(store, "info", "mapped", by_name).splitlines())
    out = ok(store, "update", str(device_object(V2)), by_name)
    assert f"updated mapped of VM {shown(name)} to " in out
    assert ok(store, "limits", "mapped", by_name).startswith(f"mapped of VM {shown(name)}: ")
    done = kvmbpf(store, "attach", str(device_object(V1)), "--pid", pid, by_name)
    assert done.status == 13
    assert done.err == (
        f"kvmbpf: VM {shown(name)} has a device mapped already: update it, or detach it first\n"
    )
    assert ok(store, "detach", "mapped", by_name) == (
        f"detached mapped from VM {shown(name)} (pid {pid})\n"
    )
    assert store.vms() == []


def has_vm(pid: int) -> bool:
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if str(entry.readlink()) == "anon_inode:kvm-vm":
                return True
    return False


@contextlib.contextmanager
def qemu(name: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a QEMU of a name until it has its VM."""
    with subprocess.Popen([*QEMU, "-name", name]) as process:
        try:
            deadline = time.monotonic() + 60 * PACE
            while not has_vm(process.pid):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield process
        finally:
            process.kill()


def test_a_vm_that_is_started_again_has_its_name_at_once(store: Store) -> None:
    """What the dead one has left, a record and pins, is there when the name is looked up."""
    path = str(device_object(V1))
    with qemu("guest=web 1,debug-threads=on") as first:
        ok(store, "attach", path, "--vm", "web 1")
    home = home_of("web 1")
    assert store.record_path(home, "mapped").exists()
    assert store.pins(home, "mapped").link.exists()
    with qemu("web 1") as second:
        assert second.pid != first.pid
        out = ok(store, "attach", path, "--vm", "web 1")
        assert out.startswith(f"attached to VM 'web 1' (pid {second.pid}): ")
        (found,) = list_devices(store)
        assert (found.record.pid, found.record.home) == (second.pid, home)
        ok(store, "detach", "mapped", "--vm", "web 1")


def test_a_vm_is_attached_to_again_from_python(store: Store, vmm: BareVmm) -> None:
    attach_object(store, vmm, V1)
    vmm.kill()
    with BareVmm() as second:
        record = attach_object(store, second, V1)
        assert (record.vm, record.home, record.pid) == ("bare", "bare", second.pid)
        assert second.reads() == 0
        assert [one.record.pid for one in list_devices(store)] == [second.pid]


def test_two_vms_of_one_name_are_told_apart(store: Store, vmm: BareVmm) -> None:
    path = str(device_object(V1))
    with BareVmm() as other:
        for one in (vmm, other):
            out = ok(store, "attach", path, "--pid", str(one.pid), "--vm", "twin")
            assert out.startswith(f"attached to VM twin (pid {one.pid}): ")
        vmm.reads(2)
        other.reads(5)
        found = {
            one["pid"]: (one["vm"], one["state"]["calls"])
            for one in json.loads(ok(store, "list", "--json"))["devices"]
        }
        assert found == {vmm.pid: ("twin", 2), other.pid: ("twin", 5)}
        assert [line.split()[:2] for line in ok(store, "list").splitlines()[1:]] == [
            ["twin", str(vmm.pid)],
            ["twin", str(other.pid)],
        ]
        for command in (["info", "mapped"], ["detach", "mapped"], ["update", path]):
            done = kvmbpf(store, *command, "--vm", "twin")
            assert done.status == 13
            assert done.err == (
                f"kvmbpf: device mapped is in VMs twin (pid {vmm.pid}), twin (pid {other.pid}): "
                "say which with --pid\n"
            )
        own = ("--vm", "twin", "--pid", str(other.pid))
        assert json.loads(ok(store, "info", "mapped", "--json", *own))["vmm"]["pid"] == other.pid
        ok(store, "update", str(device_object(V2)), *own)
        ok(store, "limits", "mapped", "--max-faults", "3", "--pid", str(vmm.pid))
        home = find_device(store, "mapped", "twin", vmm.pid).record.home
        assert device_state(store, home, "mapped")["calls"] == 2
        assert ok(store, "detach", "mapped", *own) == (
            f"detached mapped from VM twin (pid {other.pid})\n"
        )
        assert other.reads() is None
        assert vmm.reads() == 0
        # The second one's end is not the first one's.
        ok(store, "attach", path, "--pid", str(other.pid), "--vm", "twin")
        other.kill()
        assert [one.record.pid for one in list_devices(store)] == [vmm.pid]


def test_a_number_that_was_given_to_another_is_not_attached_to(store: Store, vmm: BareVmm) -> None:
    path = device_object(V1)
    placed = Placed(read_device(path), (GPA,), ())
    with pytest.raises(StateError, match="another one has its number now"):
        attach(store, path, placed, pid=vmm.pid, vm="x", start_ticks=1)
    assert list_devices(store) == []
