# SPDX-License-Identifier: GPL-2.0-or-later
"""Give a device its place in a guest: addresses, ports and interrupts.

A machine profile says what is free on a QEMU machine as it comes; `place`
takes from it what the device needs, or checks what the caller asks for.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kvmbpf.errors import PlacementError
from kvmbpf.spec import Bus, DeviceSpec

PAGE_BYTES = 4096
# Guest-physical addresses end here at the latest (52 bits).
GPA_END = 1 << 52
# Ports end here.
PORT_END = 1 << 16
# Ports that are found, not given, start at a multiple of this: an access of any
# width that starts in a region of so many ports stays in it.
PORT_ALIGNMENT = 16


class Firmware(enum.Enum):
    """What tells a guest about a device."""

    ACPI = "acpi"
    DEVICE_TREE = "dt"


@dataclass(frozen=True, slots=True)
class MachineProfile:
    """What is free on a machine.

    :param name: QEMU's name of the machine, as in ``-machine q35``.
    :param window_gpa: where devices go (C ``gpa_t``).
    :param window_bytes: the window's size.
    :param window_port: where port regions go.
    :param window_ports: how many ports are free from there.
    :param gsis: free interrupts (C ``__u32``), in the order of their use.
    :param firmware: what stock QEMU passes on to the guest.
    :param firmware_irqs: whether the guest can be told a device's interrupts.
    """

    name: str
    window_gpa: int
    window_bytes: int
    window_port: int
    window_ports: int
    gsis: tuple[int, ...]
    firmware: Firmware
    firmware_irqs: bool


# All: above the local APIC, below the flash; free in `info mtree`.
_WINDOW_GPA = 0xFEF00000
_WINDOW_BYTES = 0x100000

# All: above PCI's configuration ports (to 0xcff) and below 0x1000, from where on
# firmware and Linux place PCI's I/O BARs (PCIBIOS_MIN_IO). QEMU has nothing there
# in `info mtree`, with or without -nodefaults; its chipsets' power management,
# hotplug and debug ports lie at 0x402 to 0xcf7 and from 0x5658 up.
_WINDOW_PORT = 0xD00
_WINDOW_PORTS = 0x300

# 5 and 6 belong to nothing; 3 and 7 to the second serial and the parallel port,
# which must then be absent (-nodefaults). 9 to 12 and 14 up are taken.
Q35 = MachineProfile(
    name="q35",
    window_gpa=_WINDOW_GPA,
    window_bytes=_WINDOW_BYTES,
    window_port=_WINDOW_PORT,
    window_ports=_WINDOW_PORTS,
    gsis=(5, 6, 7, 3),
    firmware=Firmware.ACPI,
    firmware_irqs=True,
)

# Its virtio transports have 5 to 12 without ACPI and 16 up with it. It ignores
# -acpitable, and a node of a -dtb has no interrupt while ACPI owns the IO-APIC.
MICROVM = MachineProfile(
    name="microvm",
    window_gpa=_WINDOW_GPA,
    window_bytes=_WINDOW_BYTES,
    window_port=_WINDOW_PORT,
    window_ports=_WINDOW_PORTS,
    gsis=(13, 14, 15),
    firmware=Firmware.DEVICE_TREE,
    firmware_irqs=False,
)

PROFILES = {profile.name: profile for profile in (Q35, MICROVM)}


@dataclass(frozen=True, slots=True)
class Placed:
    """A device and its place.

    :param spec: the device.
    :param regions: guest-physical address (C ``gpa_t``) or first port of each region.
    :param irqs: global system interrupt (C ``__u32``) of each irq.
    """

    spec: DeviceSpec
    regions: tuple[int, ...]
    irqs: tuple[int, ...]


def find_profile(machine: str) -> MachineProfile:
    """Return the profile of a machine.

    :param machine: QEMU's name of it; ``pc-q35-7.2`` and the like are ``q35``.
    :raise PlacementError: when there is none.
    """
    name = "q35" if machine.startswith("pc-q35-") else machine
    profile = PROFILES.get(name)
    if profile is None:
        raise PlacementError(f"machine {machine}: no profile; known are {', '.join(PROFILES)}")
    return profile


def place(
    spec: DeviceSpec,
    profile: MachineProfile,
    gpas: Sequence[int] | None = None,
    gsis: Sequence[int] | None = None,
    *,
    taken: Iterable[Placed] = (),
) -> Placed:
    """Give each region and each irq of a device its place.

    :param spec: the device.
    :param profile: the machine's profile.
    :param gpas: places to use instead, one a region: a guest-physical address
        aligned to a page, or the first port of a region of ports; they may lie
        outside the profile's windows.
    :param gsis: interrupts to use instead, one an irq.
    :param taken: devices that were placed in this guest already.
    :raise PlacementError: when there is no room, or a given place is
        misaligned, out of range, taken, or not one for each.
    """
    taken = tuple(taken)
    used = {gsi: other.spec.name for other in taken for gsi in other.irqs}
    return Placed(
        spec=spec,
        regions=_place_regions(spec, profile, gpas, taken),
        irqs=_place_irqs(spec, profile, gsis, used),
    )


@dataclass(frozen=True, slots=True)
class _Space:
    """A bus of a machine, and what is taken there.

    :param word: what a place on it is called.
    :param machine: the machine's name.
    :param window: where devices go if they are not told: first place, and size.
    :param end: one past the last place.
    :param given_alignment: of a place that the caller gives, in bytes.
    :param found_alignment: of a place that is found in the window.
    :param ranges: what is taken: start, end, device.
    """

    word: str
    machine: str
    window: tuple[int, int]
    end: int
    given_alignment: int
    found_alignment: int
    ranges: list[tuple[int, int, str]] = field(default_factory=list)

    def find(self, what: str, size: int) -> int:
        """Return the lowest free place in the window with enough room behind it."""
        first, window_size = self.window
        base = first
        for start, end, _ in sorted(self.ranges):
            if start < base + size and base < end:
                base = -(-end // self.found_alignment) * self.found_alignment
        if base + size > first + window_size:
            raise PlacementError(
                f"{what}: no room in the window {first:#x}..{first + window_size - 1:#x} "
                f"of {self.machine}; give {_article(self.word)}"
            )
        return base

    def check(self, what: str, base: int, size: int) -> None:
        """Check a place that the caller gave."""
        if base < 0 or base + size > self.end:
            raise PlacementError(
                f"{what}: {self.word} {base:#x} is out of range, 0..{self.end - 1:#x}"
            )
        if base % self.given_alignment:
            raise PlacementError(
                f"{what}: {self.word} {base:#x} is not aligned to {self.given_alignment:#x}"
            )
        for start, end, name in self.ranges:
            if start < base + size and base < end:
                raise PlacementError(
                    f"{what}: {self.word} {base:#x} overlaps device {name} at "
                    f"{start:#x}..{end - 1:#x}"
                )


def _article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def _spaces(profile: MachineProfile) -> dict[Bus, _Space]:
    return {
        Bus.MMIO: _Space(
            word="address",
            machine=profile.name,
            window=(profile.window_gpa, profile.window_bytes),
            end=GPA_END,
            given_alignment=PAGE_BYTES,
            found_alignment=PAGE_BYTES,
        ),
        Bus.PIO: _Space(
            word="port",
            machine=profile.name,
            window=(profile.window_port, profile.window_ports),
            end=PORT_END,
            given_alignment=1,
            found_alignment=PORT_ALIGNMENT,
        ),
    }


def _place_regions(
    spec: DeviceSpec,
    profile: MachineProfile,
    gpas: Sequence[int] | None,
    taken: Iterable[Placed],
) -> tuple[int, ...]:
    if gpas is not None and len(gpas) != len(spec.regions):
        raise PlacementError(
            f"device {spec.name}: {len(gpas)} addresses given for {len(spec.regions)} regions"
        )
    spaces = _spaces(profile)
    for other in taken:
        for base, region in zip(other.regions, other.spec.regions, strict=True):
            spaces[region.bus].ranges.append((base, base + region.size, other.spec.name))
    placed: list[int] = []
    for region in spec.regions:
        space = spaces[region.bus]
        unit = "ports" if region.bus is Bus.PIO else "bytes"
        what = f"device {spec.name}: region {region.index} of {region.size:#x} {unit}"
        if gpas is None:
            base = space.find(what, region.size)
        else:
            base = gpas[region.index]
            space.check(what, base, region.size)
        space.ranges.append((base, base + region.size, spec.name))
        placed.append(base)
    return tuple(placed)


def _place_irqs(
    spec: DeviceSpec,
    profile: MachineProfile,
    gsis: Sequence[int] | None,
    used: dict[int, str],
) -> tuple[int, ...]:
    count = len(spec.irqs)
    if gsis is None:
        free = [gsi for gsi in profile.gsis if gsi not in used]
        if len(free) < count:
            raise PlacementError(
                f"device {spec.name}: needs {count} interrupts, {profile.name} has "
                f"{len(free)} free; give gsi numbers"
            )
        return tuple(free[:count])
    if len(gsis) != count:
        raise PlacementError(f"device {spec.name}: {len(gsis)} gsis given for {count} irqs")
    for index, gsi in enumerate(gsis):
        if not 0 <= gsi < 1 << 32:
            raise PlacementError(f"device {spec.name}: irq {index}: gsi {gsi} is out of range")
        if gsi in used:
            raise PlacementError(
                f"device {spec.name}: irq {index}: gsi {gsi} is taken by device {used[gsi]}"
            )
        used[gsi] = spec.name
    return tuple(gsis)
