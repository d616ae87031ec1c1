# SPDX-License-Identifier: GPL-2.0-or-later
"""A stock QEMU, a Linux guest, its driver: counted on both sides."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kvmbpf.demo.driver import Driver, both_counts
from kvmbpf.demo.parts import PARTS_VARIABLE, Parts, given_parts
from kvmbpf.demo.story import VM
from kvmbpf.errors import VmmError
from kvmbpf.kernel.kvm.stats import vm_counter
from kvmbpf.kernel.libbpf import BpfLink
from kvmbpf.lab import require_kernel
from kvmbpf.manager import Store, attach, detach, device_state, list_devices, update
from kvmbpf.model.firmware import to_dtb, to_ssdt
from kvmbpf.model.objfile import read_device
from kvmbpf.model.placement import Q35, Placed, place
from qemu_glue.console import GuestConsole
from qemu_glue.dtb import loadable_dtb
from qemu_glue.guest import DemoGuest, GuestConfig, control_port
from qemu_glue.runtime import RuntimeDir
from tests.lab.leaks import assert_nothing_leaked

KVMBPF = (sys.executable, "-m", "kvmbpf")


@pytest.fixture(scope="module")
def parts() -> Parts:
    return given_parts(os.environ.get(PARTS_VARIABLE))


@pytest.fixture(scope="module")
def placed(parts: Parts) -> Placed:
    return place(read_device(parts.v1), Q35)


@pytest.fixture
def store() -> Iterator[Store]:
    found = Store()
    yield found
    found.sweep_all()
    assert found.vms() == []
    assert_nothing_leaked()


def config(parts: Parts, placed: Placed, folder: Path, smp: int = 1) -> GuestConfig:
    table = folder / "ssdt.aml"
    table.write_bytes(to_ssdt([placed]))
    kernel = require_kernel()
    return GuestConfig(
        kernel.bzimage,
        parts.initramfs,
        acpi_tables=[table],
        smp=smp,
        memory_mib=kernel.guest_mib,
    )


@contextmanager
def attached_guest(
    parts: Parts, placed: Placed, folder: Path, store: Store, smp: int = 1
) -> Iterator[tuple[DemoGuest, Driver]]:
    with DemoGuest(config(parts, placed, folder, smp)) as guest:
        attach(store, parts.v1, placed, pid=guest.pid, vm=VM)
        guest.boot()
        yield guest, Driver(guest.console)


def state(store: Store, name: str) -> int:
    return int(device_state(store, VM, "demo")[name])


def agree(driver: Driver, store: Store) -> None:
    """Require that guest and host counted the same."""
    for what, guest, host in both_counts(driver, device_state(store, VM, "demo")):
        assert guest == host, what
    assert state(store, "irqs") == state(store, "doorbells")


def test_a_driver_binds_and_both_sides_count_alike(
    parts: Parts, placed: Placed, tmp_path: Path, store: Store
) -> None:
    with attached_guest(parts, placed, tmp_path, store, smp=2) as (guest, driver):
        assert driver.read("id") == "0x6b766d62"
        assert driver.read("version") == "1"
        before = vm_counter(guest.pid, "mmio_exits")
        driver.write("doorbell", 50)
        result = driver.hammer(1000)
        assert vm_counter(guest.pid, "mmio_exits") == before
        assert int(driver.read("interrupts")) == 50
        assert (result["reads"], result["lost"], result["wrong"]) == (1000, 0, 0)
        agree(driver, store)

        # Declined: each goes to QEMU, by KVM's own count, and the program saw it.
        before = vm_counter(guest.pid, "mmio_exits")
        driver.read("probe_declined")
        assert vm_counter(guest.pid, "mmio_exits") == before + 1
        assert state(store, "declined") == 1
        agree(driver, store)

        # An update under load: nothing lost, state kept.
        job = driver.start_hammer()
        for path in (parts.v2, parts.v1, parts.v2):
            update(store, path)
        job.stop()
        result = driver.numbers("hammer/*")
        assert (result["lost"], result["wrong"], result["back"], result["mixed"]) == (0, 0, 0, 0)
        assert (result["first_version"], result["last_version"]) == (1, 2)
        assert result["changes"] == 3
        assert driver.read("version") == "2"
        driver.write("doorbell", 5)
        agree(driver, store)

        # Off means off: the next access reaches QEMU, where nothing answers.
        detach(store, "demo")
        before = vm_counter(guest.pid, "mmio_exits")
        assert driver.read("id") != "0x6b766d62"
        assert vm_counter(guest.pid, "mmio_exits") == before + 1
        with pytest.raises(VmmError):
            driver.write("doorbell", 1)

        # And on again, in the same guest.
        attach(store, parts.v2, placed, pid=guest.pid, vm=VM)
        assert driver.read("id") == "0x6b766d62"
        driver.write("doorbell", 3)
        detach(store, "demo")
        assert guest.power_off() == 0


def test_a_device_tree_tells_the_guest_as_well(
    parts: Parts, placed: Placed, tmp_path: Path, store: Store
) -> None:
    tree = tmp_path / "devices.dtb"
    kernel = require_kernel().bzimage
    tree.write_bytes(loadable_dtb(to_dtb([placed]), kernel))
    guest_config = GuestConfig(kernel, parts.initramfs, extra=["-dtb", str(tree)])
    with DemoGuest(guest_config) as guest:
        attach(store, parts.v1, placed, pid=guest.pid, vm=VM)
        guest.boot()
        driver = Driver(guest.console)
        assert driver.device == f"{placed.regions[0]:x}.demo"
        assert guest.console.run(f"cat {driver.folder}/of_node/compatible") == "kvmbpf,demo\0"
        driver.hammer(100)
        agree(driver, store)


def test_qemu_killed_under_load_leaves_nothing(
    parts: Parts, placed: Placed, tmp_path: Path, store: Store
) -> None:
    with attached_guest(parts, placed, tmp_path, store) as (guest, driver):
        driver.start_hammer()
        with BpfLink.open_pinned(store.pins(VM, "demo").link) as link:
            guest.qemu.kill()
            assert link.wait_detached(10)
            assert link.info().defunct
    assert list_devices(store) == []
    assert not store.pin_dir.exists() or list(store.pin_dir.iterdir()) == []


def cli(*arguments: str) -> str:
    done = subprocess.run([*KVMBPF, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def await_it(manager: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert manager.poll() is None, "the manager ended"
        assert time.monotonic() < deadline
        time.sleep(0.1)


@contextmanager
def managed_guest(
    parts: Parts, placed: Placed, folder: Path, store: Store
) -> Iterator[tuple[subprocess.Popen[bytes], GuestConsole, int]]:
    """Give a guest that `kvmbpf run` started: the manager, its console, QEMU's pid."""
    with RuntimeDir() as runtime:
        qemu = ["qemu-system-x86_64", *config(parts, placed, folder).arguments(runtime)]
        table = qemu.index("-acpitable")
        del qemu[table : table + 2]  # run makes its own
        manager = subprocess.Popen(
            [*KVMBPF, "run", "--device", str(parts.v1), "--vm", VM, "--", *qemu],
            stdin=subprocess.DEVNULL,
        )
        pid = 0
        try:
            await_it(manager, control_port(runtime).exists)
            with GuestConsole(control_port(runtime)) as console:
                await_it(manager, lambda: bool(list_devices(store)))
                pid = list_devices(store)[0].record.pid
                console.wait_ready(120)
                yield manager, console, pid
        finally:
            manager.kill()
            manager.wait()
            if pid and Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGKILL)


def test_run_stays_until_the_guest_ends(
    parts: Parts, placed: Placed, tmp_path: Path, store: Store
) -> None:
    with managed_guest(parts, placed, tmp_path, store) as (manager, console, _):
        Driver(console).write("doorbell", 10)
        assert state(store, "irqs") == 10
        console.post("poweroff -f")
        assert manager.wait(60) == 0
        assert list_devices(store) == []


def test_a_killed_manager_is_replaced(
    parts: Parts, placed: Placed, tmp_path: Path, store: Store
) -> None:
    """`kvmbpf run` dies by SIGKILL: the guest goes on, other managers take over."""
    with managed_guest(parts, placed, tmp_path, store) as (manager, console, pid):
        manager.send_signal(signal.SIGKILL)
        manager.wait()
        driver = Driver(console)
        driver.write("doorbell", 10)
        (listed,) = json.loads(cli("list", "--json"))["devices"]
        assert (listed["vm"], listed["device"], listed["pid"]) == (VM, "demo", pid)
        assert listed["attached"]
        assert listed["state"]["doorbells"] == 10
        kept = re.search(r"^state kept: (.*)$", cli("update", str(parts.v2)), re.MULTILINE)
        assert kept
        assert ".bss" in kept[1].split(", ")
        assert driver.read("version") == "2"
        assert driver.read("doorbells") == "10"
        agree(driver, store)
        assert f"detached demo from VM {VM}" in cli("detach", "demo")
        assert driver.read("version") != "2"


def test_a_running_vm_is_attached_by_its_qmp_socket(
    parts: Parts, placed: Placed, tmp_path: Path, store: Store
) -> None:
    with DemoGuest(config(parts, placed, tmp_path)) as guest:
        guest.boot()  # without the device: the guest's driver finds no id
        assert (
            guest.console.run(
                "ls -d /sys/bus/platform/drivers/kvmbpf-demo/*/id 2>/dev/null || true"
            )
            == ""
        )
        guest.qmp.close()  # it takes one client at a time
        gpa = f"{placed.regions[0]:#x}"
        gsis = [word for gsi in placed.irqs for word in ("--gsi", str(gsi))]
        said = cli(
            *("attach", str(parts.v1), "--qmp", str(guest.qemu.qmp_path)),
            *("--vm", VM, "--gpa", gpa, *gsis),
        )
        assert f"attached to VM {VM} (pid {guest.pid})" in said
        node = guest.console.run("basename $(ls -d /sys/bus/platform/devices/PRP0001*)").strip()
        guest.console.run(f"echo {node} > /sys/bus/platform/drivers/kvmbpf-demo/bind")
        driver = Driver(guest.console)
        driver.write("doorbell", 5)
        agree(driver, store)
        guest.qemu.kill()
