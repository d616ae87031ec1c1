# SPDX-License-Identifier: GPL-2.0-or-later
"""Give a device its place in a guest: guest-physical addresses and interrupts.

A machine profile says what is free on a QEMU machine as it comes; `place`
takes from it what the device needs, or checks what the caller asks for.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kvmbpf.errors import PlacementError
from kvmbpf.spec import DeviceSpec

PAGE_BYTES = 4096
# Guest-physical addresses end here at the latest (52 bits).
GPA_END = 1 << 52


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
    :param gsis: free interrupts (C ``__u32``), in the order of their use.
    :param firmware: what stock QEMU passes on to the guest.
    :param firmware_irqs: whether the guest can be told a device's interrupts.
    """

    name: str
    window_gpa: int
    window_bytes: int
    gsis: tuple[int, ...]
    firmware: Firmware
    firmware_irqs: bool


# Both: above the local APIC, below the flash; free in `info mtree`.
_WINDOW_GPA = 0xFEF00000
_WINDOW_BYTES = 0x100000

# 5 and 6 belong to nothing; 3 and 7 to the second serial and the parallel port,
# which must then be absent (-nodefaults). 9 to 12 and 14 up are taken.
Q35 = MachineProfile(
    name="q35",
    window_gpa=_WINDOW_GPA,
    window_bytes=_WINDOW_BYTES,
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
    gsis=(13, 14, 15),
    firmware=Firmware.DEVICE_TREE,
    firmware_irqs=False,
)

PROFILES = {profile.name: profile for profile in (Q35, MICROVM)}


@dataclass(frozen=True, slots=True)
class Placed:
    """A device and its place.

    :param spec: the device.
    :param regions: guest-physical address (C ``gpa_t``) of each region.
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
    :param gpas: addresses to use instead, one a region, aligned to a page; they
        may lie outside the profile's window.
    :param gsis: interrupts to use instead, one an irq.
    :param taken: devices that were placed in this guest already.
    :raise PlacementError: when there is no room, or a given place is
        misaligned, out of range, taken, or not one for each.
    """
    taken = tuple(taken)
    ranges = [
        (gpa, gpa + region.size, other.spec.name)
        for other in taken
        for gpa, region in zip(other.regions, other.spec.regions, strict=True)
    ]
    used = {gsi: other.spec.name for other in taken for gsi in other.irqs}
    return Placed(
        spec=spec,
        regions=_place_regions(spec, profile, gpas, ranges),
        irqs=_place_irqs(spec, profile, gsis, used),
    )


def _place_regions(
    spec: DeviceSpec,
    profile: MachineProfile,
    gpas: Sequence[int] | None,
    ranges: list[tuple[int, int, str]],
) -> tuple[int, ...]:
    if gpas is not None and len(gpas) != len(spec.regions):
        raise PlacementError(
            f"device {spec.name}: {len(gpas)} addresses given for {len(spec.regions)} regions"
        )
    placed: list[int] = []
    for region in spec.regions:
        what = f"device {spec.name}: region {region.index} of {region.size:#x} bytes"
        if gpas is None:
            gpa = _free_gpa(what, region.size, profile, ranges)
        else:
            gpa = gpas[region.index]
            _check_gpa(what, gpa, region.size, ranges)
        ranges.append((gpa, gpa + region.size, spec.name))
        placed.append(gpa)
    return tuple(placed)


def _free_gpa(
    what: str, size: int, profile: MachineProfile, ranges: list[tuple[int, int, str]]
) -> int:
    """Return the lowest free page in the window with enough room behind it."""
    gpa = profile.window_gpa
    for start, end, _ in sorted(ranges):
        if start < gpa + size and gpa < end:
            gpa = -(-end // PAGE_BYTES) * PAGE_BYTES
    window_end = profile.window_gpa + profile.window_bytes
    if gpa + size > window_end:
        raise PlacementError(
            f"{what}: no room in the window {profile.window_gpa:#x}..{window_end - 1:#x} "
            f"of {profile.name}; give an address"
        )
    return gpa


def _check_gpa(what: str, gpa: int, size: int, ranges: list[tuple[int, int, str]]) -> None:
    if gpa < 0 or gpa + size > GPA_END:
        raise PlacementError(f"{what}: address {gpa:#x} is out of range, 0..{GPA_END - 1:#x}")
    if gpa % PAGE_BYTES:
        raise PlacementError(f"{what}: address {gpa:#x} is not aligned to {PAGE_BYTES:#x}")
    for start, end, name in ranges:
        if start < gpa + size and gpa < end:
            raise PlacementError(
                f"{what}: address {gpa:#x} overlaps device {name} at {start:#x}..{end - 1:#x}"
            )


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
