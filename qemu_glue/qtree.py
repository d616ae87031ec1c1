# SPDX-License-Identifier: GPL-2.0-or-later
"""The devices of a running QEMU, from its monitor's ``info qtree``.

The text is a tree by indentation, two blanks a level:

    bus: main-system-bus
      type System
      dev: isa-serial, id "com1"
        irq = 4 (0x4)

Only devices, their ids and their numbers are taken. An id may hold anything but
a line's end.

Source: qdev_print() in QEMU's softmmu/qdev-monitor.c (7.2), system/qdev-monitor.c (10.0, 11.1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_DEVICE = re.compile(r'(?P<indent> *)dev: (?P<type>[^,]+), id "(?P<id>.*)"')
_NUMBER = re.compile(r"(?P<indent> +)(?P<name>[A-Za-z0-9_-]+) = (?P<value>\d+)(?: \(.*\))?")


@dataclass(frozen=True, slots=True)
class QtreeDevice:
    """A device.

    :param type: as ``isa-serial``.
    :param id: what its user calls it, or empty.
    :param numbers: its properties that are numbers.
    """

    type: str
    id: str
    numbers: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The type, and the id where it has one."""
        return f"{self.type} {self.id}" if self.id else self.type


def parse_qtree(text: str) -> tuple[QtreeDevice, ...]:
    """Read the output of ``info qtree``; what is no device or number is passed over."""
    devices: list[QtreeDevice] = []
    indent = 0
    for line in text.splitlines():
        if found := _DEVICE.fullmatch(line):
            devices.append(QtreeDevice(found["type"], found["id"]))
            indent = len(found["indent"])
        # A bus below a device prints its type only: numbers are the device's own.
        elif devices and (found := _NUMBER.fullmatch(line)) and len(found["indent"]) == indent + 2:
            devices[-1].numbers[found["name"]] = int(found["value"])
    return tuple(devices)
