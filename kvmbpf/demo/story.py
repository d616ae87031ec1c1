# SPDX-License-Identifier: GPL-2.0-or-later
"""The demonstration's inner part: it runs on the patched host, in the lab.

Every line it prints comes from a command, a file of the guest or a counter of
the kernel; where two sides count the same thing they are compared, and a
difference ends it with an error.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from kvmbpf.demo.parts import PARTS_VARIABLE, Parts, given_parts
from kvmbpf.errors import KvmBpfError, StateError
from kvmbpf.firmware import to_ssdt
from kvmbpf.kvm.stats import vm_counter
from kvmbpf.lab import require_kernel
from kvmbpf.manager import Store, device_state, list_devices
from kvmbpf.objfile import read_device
from kvmbpf.placement import Q35, place
from qemu_glue.console import GuestConsole
from qemu_glue.guest import DemoGuest, GuestConfig

VM = "demo"
RINGS = 100
READS = 2_000
DECLINES = 5
FOREVER = 1 << 40
_DRIVER = "/sys/bus/platform/drivers/kvmbpf-demo"


def heading(text: str) -> None:
    """Print what comes next."""
    print(f"\n== {text}", flush=True)


def show(text: str) -> None:
    """Print a line of output."""
    print(f"   {text}", flush=True)


def require_equal(what: str, guest: int, host: int) -> None:
    """Print a count of both sides.

    :raise StateError: when they differ.
    """
    show(f"{what:<30} guest {guest:>8}   host {host:>8}")
    if guest != host:
        raise StateError(f"{what}: the guest counted {guest}, the host {host}")


def kvmbpf(parts: Parts, *arguments: str) -> None:
    """Run the kvmbpf command in a process of its own, as a user would.

    :param parts: the objects lie in their folder, where the command runs.
    :raise StateError: when it fails.
    """
    print(f"   $ kvmbpf {shlex.join(arguments)}", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "kvmbpf", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=parts.folder,
    )
    for line in done.stdout.splitlines():
        show(line)
    if done.returncode:
        raise StateError(f"kvmbpf {arguments[0]} failed with exit code {done.returncode}")


class Driver:
    """The guest's driver, by its files in sysfs.

    :param console: of a guest that is up.
    :raise StateError: when the driver is bound to no device.
    """

    def __init__(self, console: GuestConsole) -> None:
        self.console = console
        found = self.console.run(f"cd {_DRIVER} && ls -d */id 2>/dev/null || true").split()
        if len(found) != 1:
            raise StateError(f"the guest's driver is bound to {len(found)} devices, not 1")
        self.device = found[0].removesuffix("/id")
        self.folder = f"{_DRIVER}/{self.device}"

    def read(self, name: str) -> str:
        """Return what a file says."""
        return self.console.run(f"cat {self.folder}/{name}").strip()

    def write(self, name: str, value: int, timeout: float = 120.0) -> None:
        """Write a number to a file."""
        self.console.run(f"echo {value} > {self.folder}/{name}", timeout)

    def numbers(self, name: str) -> dict[str, int]:
        """Return a file's ``name=number`` pairs."""
        pairs = (item.split("=") for item in self.read(name).split())
        return {key: int(value) for key, value in pairs}


def compare_counts(driver: Driver, store: Store) -> None:
    """Print what the guest's driver and the host's program counted; they must agree."""
    accesses = driver.numbers("accesses")
    state = device_state(store, VM, "demo")
    answered = _number(state, "reads") + _number(state, "declined")
    require_equal("reads, answered and declined", accesses["reads"], answered)
    require_equal("writes", accesses["writes"], _number(state, "writes"))
    require_equal("interrupts", int(driver.read("interrupts")), _number(state, "irqs"))


def count_on_both_sides(driver: Driver, pid: int, store: Store) -> None:
    """Make accesses and interrupts, and compare the counts of guest and host."""
    heading(f"{RINGS} doorbells and {READS} reads, counted on both sides")
    exits = vm_counter(pid, "mmio_exits")
    driver.write("ring", RINGS)
    driver.write("hammer", READS)
    left = vm_counter(pid, "mmio_exits") - exits
    compare_counts(driver, store)
    show(f"exits to QEMU meanwhile, by KVM's counter mmio_exits: {left}")
    if left:
        raise StateError(f"{left} accesses went to QEMU")

    exits = vm_counter(pid, "mmio_exits")
    for _ in range(DECLINES):
        driver.read("probe_declined")
    left = vm_counter(pid, "mmio_exits") - exits
    show(f"the same counter after {DECLINES} reads that the program declines: {left}")
    if left != DECLINES:
        raise StateError(f"{DECLINES} declined reads made {left} exits")


def update_under_load(driver: Driver, parts: Parts) -> None:
    """Replace the program while the guest reads, and show that nothing was lost."""
    heading("version 2 is swapped in while the guest reads as fast as it can")
    job = driver.console.start(f"echo {FOREVER} > {driver.folder}/hammer")
    kvmbpf(parts, "update", parts.v2.name)
    job.stop()
    seen = driver.numbers("hammer_result")
    show(" ".join(f"{key}={value}" for key, value in seen.items() if not key.endswith("_ns")))
    expected = {
        "lost": 0,
        "wrong": 0,
        "back": 0,
        "first_version": 1,
        "last_version": 2,
        "version_changes": 1,
        "last": seen["first"] + seen["reads"] - 1,
    }
    if any(seen[key] != value for key, value in expected.items()):
        raise StateError(f"the update was not clean: expected {expected}")
    show(
        f"{seen['reads']} reads, numbered {seen['first']} to {seen['last']} without a gap: "
        "the state was kept, no access was lost"
    )


def detach(driver: Driver, parts: Parts, pid: int) -> None:
    """Take the device away, and show that the next access reaches QEMU."""
    heading("the device is taken away")
    kvmbpf(parts, "detach", "demo")
    exits = vm_counter(pid, "mmio_exits")
    show(f"the guest reads the id: {driver.read('id')} (QEMU has nothing there)")
    left = vm_counter(pid, "mmio_exits") - exits
    show(f"exits to QEMU for it, by KVM's counter: {left}")
    if left != 1:
        raise StateError(f"one read after the detach made {left} exits")


def tell(parts: Parts) -> None:
    """Tell the whole story.

    :raise KvmBpfError: when something is not as it should be.
    """
    store = Store()
    heading(f"the host: Linux {platform.release()}, patched; the guest: the same, in stock QEMU")
    heading("what the object says of itself")
    kvmbpf(parts, "inspect", parts.v1.name)

    placed = place(read_device(parts.v1), Q35)
    with tempfile.TemporaryDirectory(prefix="kvmbpf-") as folder:
        table = Path(folder) / "ssdt.aml"
        table.write_bytes(to_ssdt([placed]))
        kernel = require_kernel()
        config = GuestConfig(
            kernel.bzimage, parts.initramfs, acpi_tables=[table], memory_mib=kernel.guest_mib
        )
        with DemoGuest(config) as guest:
            version = guest.qmp.execute("query-version")["qemu"]
            heading(
                f"QEMU {version['major']}.{version['minor']}.{version['micro']} waits, stopped; "
                "the device is attached from outside"
            )
            kvmbpf(parts, "attach", parts.v1.name, "--pid", str(guest.pid), "--vm", VM)
            guest.boot()
            driver = Driver(guest.console)
            heading("the guest is up, and its driver found the device")
            show(guest.console.run("dmesg | grep kvmbpf | tail -n 1").strip())
            show(f"{driver.device}: id {driver.read('id')}, version {driver.read('version')}")

            count_on_both_sides(driver, guest.pid, store)
            update_under_load(driver, parts)
            compare_counts(driver, store)
            detach(driver, parts, guest.pid)

            heading("the end")
            status = guest.power_off()
            show(f"QEMU exited with {status}")
    left = list_devices(store)
    show(f"devices attached: {len(left)}; pins left: {len(store.vms())}")
    if left or store.vms():
        raise StateError("something was left behind")


def _number(state: dict[str, int | bytes | bool], name: str) -> int:
    value = state[name]
    if isinstance(value, bytes):
        raise StateError(f"state variable {name} is not a number")
    return int(value)


def main() -> None:
    """Tell the story in the lab; end with its error's exit code."""
    try:
        tell(given_parts(os.environ.get(PARTS_VARIABLE)))
    except KvmBpfError as error:
        print(f"kvmbpf: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
