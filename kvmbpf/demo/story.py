# SPDX-License-Identifier: GPL-2.0-or-later
"""The demonstration's inner part: it runs on the patched host, in the lab.

Every line it prints comes from a command, a file of the guest or a counter of
the kernel; where two sides count the same thing they are compared, and a
difference ends it with an error. `telling` has what prints, `managing` starts
and ends what is told of.
"""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass

from kvmbpf.demo.driver import Driver, both_counts
from kvmbpf.demo.managing import StoryGuest, await_end
from kvmbpf.demo.parts import PARTS_VARIABLE, Parts, given_parts
from kvmbpf.demo.telling import heading, kvmbpf, require, require_equal, show
from kvmbpf.errors import KvmBpfError
from kvmbpf.kernel.kvm.stats import vm_counter
from kvmbpf.manager import Store, device_state, list_devices
from qemu_glue.console import GuestConsole

VM = "demo"
DOORBELLS = 100
READS = 2_000
RECORDS = 500
DECLINES = 5
CPUS = 2
# Of what `kvmbpf inspect` tells; the rest is of its programs, maps and state.
WHAT_IT_IS = ("device", "compatible", "version", "flags", "region", "irq", "property")


@dataclass(frozen=True)
class Scene:
    """What the story is told with.

    :param parts: the device's objects, and the guest's files.
    :param store: what is attached.
    :param driver: the guest's.
    :param pid: QEMU's (C ``pid_t``).
    """

    parts: Parts
    store: Store
    driver: Driver
    pid: int

    def exits(self) -> int:
        """Return how many MMIO accesses of the guest KVM has sent to QEMU."""
        return vm_counter(self.pid, "mmio_exits")

    def compare(self) -> None:
        """Print what the guest's driver and the host's program counted; they must agree."""
        for what, guest, host in both_counts(self.driver, device_state(self.store, VM, "demo")):
            require_equal(what, guest, host)


def greet(console: GuestConsole) -> None:
    """Show that the guest's own driver found the device."""
    heading("the guest is up; its driver found the device by its firmware's table")
    show(console.run("dmesg | grep 'kvmbpf-demo ' | tail -n 1").strip())


def count_on_both_sides(scene: Scene) -> None:
    """Make accesses, interrupts and records, and compare the counts of guest and host."""
    heading(f"{DOORBELLS} doorbells, {READS} reads, {RECORDS} records into the guest's memory")
    driver = scene.driver
    before = scene.exits()
    driver.write("doorbell", DOORBELLS)
    driver.hammer(READS)
    ring = driver.fill(RECORDS)
    after = scene.exits()
    scene.compare()
    written = int(device_state(scene.store, VM, "demo")["ring_sequence"])
    require_equal("records, in sequence and right", ring["records"] - ring["wrong"], written)
    show(f"accesses that KVM sent to QEMU: {before} before, {after} after")
    require(before == after, f"{after - before} accesses went to QEMU")
    for _ in range(DECLINES):
        driver.read("probe_declined")
    more = scene.exits() - after
    show(f"and {more} more after {DECLINES} reads of what the program declines: the count is real")
    require(more == DECLINES, f"{DECLINES} declined reads made {more} exits")


def update_under_load(scene: Scene) -> None:
    """Replace the program while the guest reads, and show that nothing was lost."""
    heading(f"version 2 is swapped in while {CPUS} CPUs of the guest read as fast as they can")
    driver = scene.driver
    job = driver.start_hammer(CPUS)
    kvmbpf(scene.parts, "update", scene.parts.v2.name)
    job.stop()
    seen = driver.numbers("hammer/*")
    show(
        f"{seen['reads']} reads, numbered without a gap: {seen['lost']} lost, {seen['wrong']} "
        f"with a wrong checksum, {seen['back']} of an old version after a new one"
    )
    show(f"version {seen['first_version']}, then {seen['last_version']}: {seen['changes']} change")
    expected = {"lost": 0, "wrong": 0, "back": 0, "mixed": 0}
    expected |= {"first_version": 1, "last_version": 2, "changes": 1}
    clean = all(seen[key] == value for key, value in expected.items())
    require(clean, f"the update was not clean: expected {expected}")


def kill_manager(scene: Scene, guest: StoryGuest) -> None:
    """Kill the manager in a running guest, and let another one take over."""
    heading("the manager, `kvmbpf run`, is killed with SIGKILL; the guest does not notice")
    show(f"the manager's exit status: {guest.kill_manager()}")
    scene.driver.write("doorbell", DOORBELLS)
    scene.compare()
    heading("there is no daemon: any later manager finds the device in the kernel")
    kvmbpf(scene.parts, "list")
    kvmbpf(scene.parts, "update", scene.parts.v1.name)
    show(f"the guest reads version {scene.driver.read('version')}")
    scene.compare()


def detach(scene: Scene) -> None:
    """Take the device away, and show that the next access reaches QEMU."""
    heading("the device is taken away")
    kvmbpf(scene.parts, "detach", "demo")
    before = scene.exits()
    show(f"the guest reads the id: {scene.driver.read('id')} (QEMU has nothing there)")
    more = scene.exits() - before
    show(f"accesses that KVM sent to QEMU for it: {more}")
    require(more == 1, f"one read after the detach made {more} exits")


def tell(parts: Parts) -> None:
    """Tell the whole story.

    :raise KvmBpfError: when something is not as it should be.
    """
    store = Store()
    heading(f"the host: Linux {platform.release()}, patched; the guest: the same, in stock QEMU")
    heading("what the object says of itself")
    kvmbpf(parts, "inspect", parts.v1.name, begins=WHAT_IT_IS)
    with StoryGuest(parts, store, VM, CPUS) as guest:
        greet(guest.console)
        scene = Scene(parts, store, Driver(guest.console), guest.pid)
        count_on_both_sides(scene)
        update_under_load(scene)
        kill_manager(scene, guest)
        detach(scene)
        heading("the end")
        guest.console.post("poweroff -f")
        await_end(guest.pid)
    show("the guest powered itself off, and QEMU has ended")
    left = list_devices(store)
    pins = list(store.pin_dir.rglob("*"))
    show(f"devices attached: {len(left)}; pins left: {len(pins)}")
    require(not left and not pins, "something was left behind")


def main() -> None:
    """Tell the story in the lab; end with its error's exit code."""
    try:
        tell(given_parts(os.environ.get(PARTS_VARIABLE)))
    except KvmBpfError as error:
        print(f"kvmbpf: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
