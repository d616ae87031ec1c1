# SPDX-License-Identifier: GPL-2.0-or-later
"""Give a device its place in a guest: addresses, ports and interrupts.

A machine profile says what is free on a QEMU machine as it comes, and an
`Occupied` what a running VMM has where. `place` takes what the device needs
from the first and avoids the second; a place that the caller or the device
itself asks for is checked against both.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kvmbpf.errors import PlacementError
from kvmbpf.model.spec import Bus, DeviceSpec

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
class Extent:
    """A stretch of a bus that somebody has.

    :param start: the first address (C ``gpa_t``) or port.
    :param end: one past the last.
    :param owner: whose it is, as a message names it: ``QEMU's hpet``.
    """

    start: int
    end: int
    owner: str

    def overlaps(self, base: int, size: int) -> bool:
        """Tell whether `size` places from `base` on meet it."""
        return self.start < base + size and base < self.end


@dataclass(frozen=True, slots=True)
class Occupied:
    """What a running VMM has where.

    :param memory: of guest-physical addresses.
    :param ports: of ports.
    :param gsis: owner of each interrupt (C ``__u32``) that has one.
    """

    memory: tuple[Extent, ...] = ()
    ports: tuple[Extent, ...] = ()
    gsis: Mapping[int, str] = field(default_factory=dict)


NOTHING = Occupied()


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
    :param gsi_end: one past the last interrupt that leads somewhere.
    :param hidden: what is taken there, though the VMM does not say so.
    """

    name: str
    window_gpa: int
    window_bytes: int
    window_port: int
    window_ports: int
    gsis: tuple[int, ...]
    firmware: Firmware
    firmware_irqs: bool
    gsi_end: int = 1 << 32
    hidden: tuple[Extent, ...] = ()


# What QEMU gives to KVM below the flash, on all x86 machines: one page of page
# tables and three of a TSS, for guests in real mode on Intel's processors. QEMU
# tells the guest by its e820 map; `info mtree` does not show it.
# Source: kvm_arch_init() in QEMU's target/i386/kvm/kvm.c.
_KVM_GPA = 0xFEFFC000
_HIDDEN = (Extent(_KVM_GPA, 0xFF000000, "KVM's identity map and TSS"),)

# What one IO-APIC has; KVM takes numbers that lead nowhere as well.
_IO_APIC_PINS = 24

# All: above the local APIC, below the former; free in `info mtree`.
_WINDOW_GPA = 0xFEF00000
_WINDOW_BYTES = _KVM_GPA - _WINDOW_GPA

# All: above PCI's configuration ports (to 0xcff) and below 0x1000, from where on
# firmware and Linux place PCI's I/O BARs (PCIBIOS_MIN_IO). QEMU has nothing there
# in `info mtree`, with or without -nodefaults; its chipsets' power management,
# hotplug and debug ports lie at 0x402 to 0xcf7 and from 0x5658 up.
_WINDOW_PORT = 0xD00
_WINDOW_PORTS = 0x300

# 5 and 6 belong to nothing; 3 and 7 to the second serial and the parallel port,
# which a running QEMU is asked for. 9 is ACPI's, 12, 14 and 15 are taken, and PCI
# has 16 to 23, or 10 and 11 for a guest without the IO-APIC.
Q35 = MachineProfile(
    name="q35",
    window_gpa=_WINDOW_GPA,
    window_bytes=_WINDOW_BYTES,
    window_port=_WINDOW_PORT,
    window_ports=_WINDOW_PORTS,
    gsis=(5, 6, 3, 7),
    firmware=Firmware.ACPI,
    firmware_irqs=True,
    gsi_end=_IO_APIC_PINS,
    hidden=_HIDDEN,
)

# As on q35, but 6 is the floppy controller's, which is there with -nodefaults too,
# 14 and 15 are the disks', and PCI has 10 and 11. ACPI lets a guest move PCI to 5;
# Linux keeps what the firmware chose. 16 and up lead nowhere: the PIIX has no pins
# for them, but the IO-APIC does, and nothing else uses those.
PC = replace(Q35, name="pc", gsis=(5, 16, 17, 18, 19, 20, 21, 22, 23, 3, 7))

# Its virtio transports have 24 to 47; 16 to 23 with ACPI and one IO-APIC, and then
# PCI 12 to 15; 5 to 12 without ACPI. It ignores -acpitable, and a node of a -dtb
# has no interrupt while ACPI owns the IO-APIC.
MICROVM = replace(
    Q35,
    name="microvm",
    gsis=(13, 14, 15),
    firmware=Firmware.DEVICE_TREE,
    firmware_irqs=False,
    gsi_end=2 * _IO_APIC_PINS,
)

# A further architecture's machine goes here: arm64's virt has its own window, no
# ports, and a device tree with interrupts.
PROFILES = {profile.name: profile for profile in (Q35, PC, MICROVM)}

# Versioned names, as pc-q35-7.2, by what they begin with.
_VERSIONED = {"pc-q35-": "q35", "pc-i440fx-": "pc"}


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
    name = next((to for start, to in _VERSIONED.items() if machine.startswith(start)), machine)
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
    occupied: Occupied = NOTHING,
) -> Placed:
    """Give each region and each irq of a device its place.

    :param spec: the device. A region that has a base goes there.
    :param profile: the machine's profile.
    :param gpas: places to use instead, one a region that has no base: a
        guest-physical address aligned to a page, or the first port of a region of
        ports; they may lie outside the profile's windows.
    :param gsis: interrupts to use instead, one an irq.
    :param taken: devices that were placed in this guest already.
    :param occupied: what the VMM has, which is avoided, or refused where it is
        asked for.
    :raise PlacementError: when there is no room, or a place that is asked for is
        misaligned, out of range, taken, or not one for each.
    """
    taken = tuple(taken)
    used = dict(occupied.gsis)
    used |= {gsi: f"device {other.spec.name}" for other in taken for gsi in other.irqs}
    return Placed(
        spec=spec,
        regions=_place_regions(spec, gpas, _spaces(profile, taken, occupied)),
        irqs=_place_irqs(spec, profile, gsis, used),
    )


@dataclass(frozen=True, slots=True)
class _Space:
    """A bus of a machine, and what is taken there.

    :param word: what a place on it is called.
    :param unit: what a region of it consists of.
    :param machine: the machine's name.
    :param window: where devices go if they are not told: first place, and size.
    :param end: one past the last place.
    :param given_alignment: of a place that is asked for, in bytes.
    :param found_alignment: of a place that is found in the window.
    :param extents: what is taken.
    """

    word: str
    unit: str
    machine: str
    window: tuple[int, int]
    end: int
    given_alignment: int
    found_alignment: int
    extents: list[Extent]

    def find(self, what: str, size: int) -> int:
        """Return the lowest free place in the window with enough room behind it."""
        first, window_size = self.window
        base = first
        for extent in sorted(self.extents, key=lambda one: one.start):
            if extent.overlaps(base, size):
                base = -(-extent.end // self.found_alignment) * self.found_alignment
        if base + size > first + window_size:
            raise PlacementError(
                f"{what} of {size:#x} {self.unit}: no room in the window "
                f"{first:#x}..{first + window_size - 1:#x} of {self.machine}; "
                f"give {_article(self.word)} with --at"
            )
        return base

    def check(self, what: str, base: int, size: int, mend: str) -> None:
        """Check a place that was asked for."""
        if base < 0 or base + size > self.end:
            raise PlacementError(
                f"{what} of {size:#x} {self.unit}: {self.word} {base:#x} is out of range, "
                f"0..{self.end - 1:#x}"
            )
        if base % self.given_alignment:
            raise PlacementError(
                f"{what}: {self.word} {base:#x} is not aligned to {self.given_alignment:#x}"
            )
        for extent in self.extents:
            if extent.overlaps(base, size):
                raise PlacementError(
                    f"{what} at {self._range(base, base + size)} overlaps {extent.owner} at "
                    f"{self._range(extent.start, extent.end)}; {mend}"
                )

    def _range(self, start: int, end: int) -> str:
        prefix = "port " if self.word == "port" else ""
        return f"{prefix}{start:#x}..{end - 1:#x}"


def _article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def _spaces(
    profile: MachineProfile, taken: Iterable[Placed], occupied: Occupied
) -> dict[Bus, _Space]:
    spaces = {
        Bus.MMIO: _Space(
            word="address",
            unit="bytes",
            machine=profile.name,
            window=(profile.window_gpa, profile.window_bytes),
            end=GPA_END,
            given_alignment=PAGE_BYTES,
            found_alignment=PAGE_BYTES,
            extents=[*profile.hidden, *occupied.memory],
        ),
        Bus.PIO: _Space(
            word="port",
            unit="ports",
            machine=profile.name,
            window=(profile.window_port, profile.window_ports),
            end=PORT_END,
            given_alignment=1,
            found_alignment=PORT_ALIGNMENT,
            extents=list(occupied.ports),
        ),
    }
    for other in taken:
        for base, region in zip(other.regions, other.spec.regions, strict=True):
            owner = f"device {other.spec.name}"
            spaces[region.bus].extents.append(Extent(base, base + region.size, owner))
    return spaces


def _place_regions(
    spec: DeviceSpec, gpas: Sequence[int] | None, spaces: dict[Bus, _Space]
) -> tuple[int, ...]:
    asked = _asked_for(spec, gpas)
    placed: dict[int, int] = {}
    # Those that say where they go come first: the others find room beside them.
    for region in sorted(spec.regions, key=lambda one: asked[one.index] is None):
        space = spaces[region.bus]
        what = f"device {spec.name}: region {region.index}"
        base = asked[region.index]
        if base is None:
            base = space.find(what, region.size)
        elif region.base is not None:
            space.check(what, base, region.size, "its object says that it must be there")
        else:
            space.check(what, base, region.size, f"give another {space.word} with --at")
        space.extents.append(Extent(base, base + region.size, f"device {spec.name}"))
        placed[region.index] = base
    return tuple(placed[region.index] for region in spec.regions)


def _asked_for(spec: DeviceSpec, gpas: Sequence[int] | None) -> dict[int, int | None]:
    """Return where each region must be, by the device or by the caller; None: anywhere."""
    asked = {region.index: region.base for region in spec.regions}
    if gpas is None:
        return asked
    free = [index for index, base in asked.items() if base is None]
    if len(gpas) != len(free):
        fixed = len(asked) - len(free)
        note = f", and the object places {fixed} itself" if fixed else ""
        raise PlacementError(
            f"device {spec.name}: {len(gpas)} addresses given for {len(free)} regions{note}"
        )
    return asked | dict(zip(free, gpas, strict=True))


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
                f"{len(free)} free; give gsi numbers with --gsi"
            )
        return tuple(free[:count])
    if len(gsis) != count:
        raise PlacementError(f"device {spec.name}: {len(gsis)} gsis given for {count} irqs")
    for index, gsi in enumerate(gsis):
        if not 0 <= gsi < profile.gsi_end:
            raise PlacementError(
                f"device {spec.name}: irq {index}: gsi {gsi} is out of range, "
                f"0..{profile.gsi_end - 1} on {profile.name}"
            )
        if gsi in used:
            raise PlacementError(
                f"device {spec.name}: irq {index}: gsi {gsi} is taken by {used[gsi]}; "
                "give another one with --gsi"
            )
        used[gsi] = f"device {spec.name}"
    return tuple(gsis)
