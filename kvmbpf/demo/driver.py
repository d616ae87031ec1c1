# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo guest's driver, by its files in sysfs; and both sides' counts.

What each file is for is described in guest_driver/kvmbpf_demo, in the file
sysfs-driver-kvmbpf-demo.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from kvmbpf.errors import StateError
from qemu_glue.console import GuestConsole, GuestJob

DRIVER = "/sys/bus/platform/drivers/kvmbpf-demo"
"""The driver's folder in the guest."""

_WITHOUT_END = 1 << 40  # reads

# Each look costs a command in the guest, so this is a minute or more.
_FILL_LOOKS = 500

# What the driver and the device's program count alike: a name, the driver's file,
# and the variables of the program's state that add up to it.
_COUNTS = (
    ("reads, answered and declined", "reads", ("reads", "declined")),
    ("writes", "writes", ("writes",)),
    ("interrupts of the doorbell", "interrupts", ("irqs",)),
    ("events of the ring", "ring_events", ("ring_events",)),
    ("events of the tick", "tick_events", ("tick_events",)),
)

State = Mapping[str, int | bytes | bool]


class Driver:
    """The guest's driver, bound to one device.

    :param console: of a guest that is up.
    :raise StateError: when the driver is bound to no device, or to several.
    :raise VmmError: when the guest has not loaded it.
    """

    def __init__(self, console: GuestConsole) -> None:
        self.console = console
        # Without a device the pattern stays as it is.
        found = self.console.run(
            f"cd {DRIVER} && for file in */id; do [ ! -e $file ] || echo $file; done"
        ).split()
        if len(found) != 1:
            raise StateError(f"the guest's driver is bound to {len(found)} devices, not 1")
        self.device = found[0].removesuffix("/id")
        self.folder = f"{DRIVER}/{self.device}"

    @property
    def node(self) -> str:
        """The character device of its ring."""
        return "/dev/" + self.console.run(f"ls {self.folder}/misc").strip()

    def read(self, name: str) -> str:
        """Return what a file says."""
        return self.console.run(f"cat {self.folder}/{name}").strip()

    def number(self, name: str) -> int:
        """Return the number that a file says."""
        return int(self.read(name))

    def numbers(self, *names: str) -> dict[str, int]:
        """Return the numbers in several files, all read by one command.

        :param names: files, or patterns as ``hammer/*``; files that cannot be
            read, as those that are for writing only, are left out.
        :return: file's name, without its folder -> number.
        """
        said = self.console.run(
            f"cd {self.folder} && grep -H . {' '.join(names)} 2>/dev/null; true"
        )
        pairs = (line.rsplit(":", 1) for line in said.splitlines())
        return {name.rpartition("/")[2]: int(value) for name, value in pairs if value.isdigit()}

    def write(self, name: str, value: int, timeout: float = 120.0) -> None:
        """Write a number to a file; return when the driver has done what it asks for.

        :param timeout: in seconds.
        :raise VmmError: when the driver refuses, or is not done in time.
        """
        self.console.run(f"echo {value} > {self.folder}/{name}", timeout)

    def start(self, name: str, value: int) -> GuestJob:
        """Write a number to a file in the guest's background."""
        return self.console.start(f"echo {value} > {self.folder}/{name}")

    def hammer(self, reads: int, threads: int = 1, timeout: float = 600.0) -> dict[str, int]:
        """Read COUNTER from several CPUs at once; return what was seen.

        :param reads: how many each thread makes.
        :param threads: up to the number of CPUs that the guest has.
        :param timeout: in seconds.
        """
        self.write("hammer/threads", threads)
        self.write("hammer/run", reads, timeout)
        return self.numbers("hammer/*")

    def start_hammer(self, threads: int = 1) -> GuestJob:
        """Read COUNTER from several CPUs at once, until the job is stopped.

        Returns when the run has made its first read: its counts start from that one.

        :param threads: up to the number of CPUs that the guest has.
        :raise VmmError: when the driver refuses.
        """
        self.write("hammer/threads", threads)
        first = self.number("reads") + 1
        job = self.start("hammer/run", _WITHOUT_END)
        # A read is counted before it is made, so the second tells that the first was.
        while self.number("reads") <= first:
            if not job.running():
                job.wait()  # tells why
        return job

    def fill(self, records: int) -> dict[str, int]:
        """Have the device write records to the ring; return the ring's counts.

        Returns when the driver has taken as many, or long after it should have.

        :param records: how many.
        """
        wanted = self.number("ring/records") + records
        self.write("ring/fill", records)
        counts = self.numbers("ring/*")
        for _ in range(_FILL_LOOKS):
            if counts["records"] + counts["wrong"] >= wanted:
                break
            counts = self.numbers("ring/*")
        return counts

    def threads(self) -> list[dict[str, int]]:
        """Return what each thread of the last hammer saw, from debugfs."""
        path = shlex.quote(f"/sys/kernel/debug/kvmbpf-demo-{self.device}/threads")
        lines = self.console.run(f"cat {path}").splitlines()
        pairs = ([item.split("=") for item in line.split()] for line in lines)
        return [{key: int(value) for key, value in line} for line in pairs]


def both_counts(driver: Driver, state: State) -> list[tuple[str, int, int]]:
    """Return what guest and host counted of the same things.

    For a device that was attached before the driver was bound, and a driver that
    was bound once.

    :param driver: the guest's; it must be at rest.
    :param state: the device's program's.
    :return: what it is, the guest's count, the host's count.
    """
    counted = driver.numbers(*(file for _, file, _ in _COUNTS))
    return [
        (what, counted[file], sum(_number(state, name) for name in names))
        for what, file, names in _COUNTS
    ]


def _number(state: State, name: str) -> int:
    value = state[name]
    if isinstance(value, bytes):
        raise StateError(f"state variable {name} is not a number")
    return int(value)
