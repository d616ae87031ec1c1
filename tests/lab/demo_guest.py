# SPDX-License-Identifier: GPL-2.0-or-later
"""A Linux guest with the demo device attached, its driver, and what both sides count."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.demo.driver import Driver, both_counts
from kvmbpf.demo.parts import PARTS_VARIABLE, DebianParts, Parts, given_parts
from kvmbpf.kernel.kvm.stats import vm_counter
from kvmbpf.lab import kernel_complaints, require_kernel
from kvmbpf.manager import Store, attach, device_state, list_devices
from kvmbpf.model.firmware import to_ssdt
from kvmbpf.model.objfile import read_device
from kvmbpf.model.placement import Q35, place
from qemu_glue.guest import DemoGuest, GuestConfig
from tests.lab.leaks import assert_nothing_leaked
from tests.lab.pace import PACE

VM = "demo"
BOOT_S = 120.0 * PACE
# A distribution's kernel: more drivers, and more to unpack.
DEBIAN_BOOT_S = 300.0
DEBIAN_MIB = 256


@dataclass
class DemoVm:
    """What a test of the guest's driver works with.

    :param guest: its QEMU and console.
    :param driver: its driver.
    :param store: what is attached.
    :param parts: the device's objects.
    """

    guest: DemoGuest
    driver: Driver
    store: Store
    parts: Parts

    def state(self) -> dict[str, int]:
        """Return the device's state, less what is no number."""
        found = device_state(self.store, VM, "demo")
        return {name: int(value) for name, value in found.items() if not isinstance(value, bytes)}

    def exits(self) -> int:
        """Return how many MMIO accesses KVM has sent to QEMU."""
        return vm_counter(self.guest.pid, "mmio_exits")

    def log(self) -> str:
        """Return the guest's kernel log."""
        return self.guest.console.run("dmesg")

    def assert_counts_agree(self) -> None:
        """Require that guest and host counted the same."""
        counts = both_counts(self.driver, self.state())
        assert [(what, guest) for what, guest, _ in counts] == [
            (what, host) for what, _, host in counts
        ]

    def rebound(self) -> None:
        """Take the driver as it is after it was bound anew."""
        self.driver = Driver(self.guest.console)


@contextmanager
def demo_vm(folder: Path, *, smp: int = 1, debian: DebianParts | None = None) -> Iterator[DemoVm]:
    """Give a guest that is up; afterwards nothing of it is left, and its log is clean.

    :param folder: for the table that tells the guest of the device.
    :param smp: how many vCPUs.
    :param debian: run Debian's own kernel instead of the lab's.
    """
    parts = given_parts(os.environ.get(PARTS_VARIABLE))
    placed = place(read_device(parts.v1), Q35)
    table = folder / "ssdt.aml"
    table.write_bytes(to_ssdt([placed]))
    lab = require_kernel()
    config = GuestConfig(
        debian.kernel.bzimage if debian else lab.bzimage,
        debian.initramfs if debian else parts.initramfs,
        acpi_tables=[table],
        smp=smp,
        memory_mib=DEBIAN_MIB if debian else lab.guest_mib,
    )
    store = Store()
    with DemoGuest(config) as guest:
        attach(store, parts.v1, placed, pid=guest.pid, vm=VM)
        guest.boot(DEBIAN_BOOT_S if debian else BOOT_S)
        vm = DemoVm(guest, Driver(guest.console), store, parts)
        yield vm
        log = vm.log()
        complaints = kernel_complaints(log)
        assert not complaints, f"the guest's kernel said: {complaints}\n{log}"
    assert list_devices(store) == []
    assert list(store.pin_dir.rglob("*")) == []
    assert_nothing_leaked()
