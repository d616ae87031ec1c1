# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.model.placement: what goes where, and what does not."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvmbpf.errors import PlacementError
from kvmbpf.model.placement import (
    MICROVM,
    PC,
    PROFILES,
    Q35,
    Extent,
    MachineProfile,
    Occupied,
    Placed,
    find_profile,
    place,
)
from kvmbpf.model.spec import Bus, DeviceSpec, IrqSpec, RegionSpec


def device(*sizes: int, irqs: int = 0, name: str = "dev") -> DeviceSpec:
    return DeviceSpec(
        name=name,
        compatible=("a,b",),
        version=1,
        regions=tuple(
            RegionSpec(index, Bus.MMIO, size, "kvmbpf_read", "kvmbpf_write")
            for index, size in enumerate(sizes)
        ),
        irqs=tuple(IrqSpec(index) for index in range(irqs)),
    )


def ports(*sizes: int, name: str = "dev") -> DeviceSpec:
    regions = device(*sizes, name=name).regions
    return replace(
        device(*sizes, name=name), regions=tuple(replace(one, bus=Bus.PIO) for one in regions)
    )


def test_q35_starts_at_its_window_and_gsi_5() -> None:
    spec = device(0x1000, irqs=1)
    assert place(spec, Q35) == Placed(spec, (0xFEF00000,), (5,))


def test_microvm_has_the_same_window() -> None:
    placed = place(device(0x1000, irqs=1), MICROVM)
    assert placed.regions == (0xFEF00000,)
    assert placed.irqs == (13,)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_profile_is_sound(profile: MachineProfile) -> None:
    assert profile.window_gpa == 0xFEF00000
    # KVM's own pages end the window: info mtree shows them not.
    assert profile.window_gpa + profile.window_bytes == 0xFEFFC000
    assert [(one.start, one.end) for one in profile.hidden] == [(0xFEFFC000, 0xFF000000)]
    assert profile.window_port == 0xD00
    assert profile.window_port + profile.window_ports == 0x1000
    assert len(set(profile.gsis)) == len(profile.gsis) > 0


def test_regions_start_on_their_own_page() -> None:
    placed = place(device(0x10, 0x1001, 0x1000), Q35)
    assert placed.regions == (0xFEF00000, 0xFEF01000, 0xFEF03000)


def test_whole_window_fits() -> None:
    assert place(device(0xFC000), Q35).regions == (0xFEF00000,)


def test_no_room_in_the_window() -> None:
    with pytest.raises(PlacementError, match="region 0 of 0xfc001 bytes: no room in the window"):
        place(device(0xFC001), Q35)


def test_no_room_beside_others() -> None:
    with pytest.raises(PlacementError, match="region 1 of 0x1 bytes: no room"):
        place(device(0xFC000, 1), Q35)


def test_second_device_goes_beside_the_first() -> None:
    first = place(device(0x1000, irqs=1), Q35)
    second = place(device(0x2000, irqs=1, name="other"), Q35, taken=[first])
    assert second.regions == (0xFEF01000,)
    assert second.irqs == (6,)


def test_gap_is_used_when_it_is_large_enough() -> None:
    first = place(device(0x1000, 0x1000), Q35, gpas=[0xFEF01000, 0xFEF04000])
    assert place(device(0x1000, 0x2000, 0x3000), Q35, taken=[first]).regions == (
        0xFEF00000,
        0xFEF02000,
        0xFEF05000,
    )


def test_given_places_are_used() -> None:
    placed = place(device(0x1000, 0x1000, irqs=2), Q35, [1 << 40, 0xD0000000], [11, 10])
    assert placed.regions == (1 << 40, 0xD0000000)
    assert placed.irqs == (11, 10)


@pytest.mark.parametrize(
    ("gpas", "reason"),
    [
        ([0xFEF00800], "address 0xfef00800 is not aligned to 0x1000"),
        ([-0x1000], "address -0x1000 is out of range"),
        ([(1 << 52) - 0x1000], "is out of range"),
        ([], "0 addresses given for 1 regions"),
        ([0, 0x10000], "2 addresses given for 1 regions"),
        (
            [0xFEF01000],
            "device dev: region 0 at 0xfef01000..0xfef02fff overlaps device first at "
            "0xfef02000..0xfef02fff; give another address with --at",
        ),
        ([0xFEF02000], "overlaps device first at 0xfef02000..0xfef02fff"),
        ([0xFEFFB000], "overlaps KVM's identity map and TSS at 0xfeffc000..0xfeffffff"),
    ],
)
def test_wrong_address(gpas: Sequence[int], reason: str) -> None:
    first = place(device(0x1000, name="first"), Q35, [0xFEF02000])
    with pytest.raises(PlacementError) as caught:
        place(device(0x2000), Q35, gpas, taken=[first])
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_regions_of_one_device_may_not_overlap() -> None:
    with pytest.raises(PlacementError, match="overlaps device dev at 0xd0000000"):
        place(device(0x1000, 0x1000), Q35, [0xD0000000, 0xD0000000])


@pytest.mark.parametrize(
    ("gsis", "reason"),
    [
        ([], "0 gsis given for 1 irqs"),
        ([5, 6], "2 gsis given for 1 irqs"),
        ([-1], "gsi -1 is out of range"),
        ([1 << 32], "is out of range"),
        ([24], r"gsi 24 is out of range, 0\.\.23 on q35"),
        ([5], "gsi 5 is taken by device first"),
    ],
)
def test_wrong_gsi(gsis: Sequence[int], reason: str) -> None:
    first = place(device(0x1000, irqs=1, name="first"), Q35)
    with pytest.raises(PlacementError, match=reason):
        place(device(0x1000, irqs=1), Q35, gsis=gsis, taken=[first])


def test_microvm_has_two_io_apics() -> None:
    assert place(device(0x1000, irqs=1), MICROVM, gsis=[47]).irqs == (47,)
    with pytest.raises(PlacementError, match=r"out of range, 0\.\.47 on microvm"):
        place(device(0x1000, irqs=1), MICROVM, gsis=[48])


def test_same_gsi_twice() -> None:
    with pytest.raises(PlacementError, match="irq 1: gsi 9 is taken by device dev"):
        place(device(0x1000, irqs=2), Q35, gsis=[9, 9])


def test_more_irqs_than_are_free() -> None:
    with pytest.raises(PlacementError, match="needs 5 interrupts, q35 has 4 free"):
        place(device(0x1000, irqs=5), Q35)


@pytest.mark.parametrize(
    ("machine", "profile"),
    [
        ("q35", Q35),
        ("pc-q35-7.2", Q35),
        ("pc-q35-10.0", Q35),
        ("pc", PC),
        ("pc-i440fx-7.2", PC),
        ("microvm", MICROVM),
    ],
)
def test_profile_by_machine(machine: str, profile: MachineProfile) -> None:
    assert find_profile(machine) is profile


@pytest.mark.parametrize("machine", ["", "pc-", "q35-7.2", "pc-q3", "PC", "none", "virt"])
def test_no_profile_by_a_name_that_is_near(machine: str) -> None:
    with pytest.raises(PlacementError, match="no profile"):
        find_profile(machine)


def test_unknown_machine() -> None:
    with pytest.raises(
        PlacementError, match="machine isapc: no profile; known are q35, pc, microvm"
    ):
        find_profile("isapc")


@settings(derandomize=True, deadline=None, database=None)
@given(st.lists(st.lists(st.integers(1, 0x9000), min_size=1, max_size=8), max_size=8))
def test_nothing_overlaps(devices: list[list[int]]) -> None:
    placed: list[Placed] = []
    for sizes in devices:
        try:
            placed.append(place(device(*sizes), Q35, taken=placed))
        except PlacementError:
            assert sum(-(-size // 0x1000) for sizes in devices for size in sizes) > 0xFC
    ranges = sorted(
        (gpa, gpa + region.size)
        for one in placed
        for gpa, region in zip(one.regions, one.spec.regions, strict=True)
    )
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(ranges))
    assert all(start >= 0xFEF00000 and end <= 0xFEFFC000 for start, end in ranges)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_ports_start_at_their_window_in_sixteens(profile: MachineProfile) -> None:
    assert place(ports(4, 17, 0x100), profile).regions == (0xD00, 0xD10, 0xD30)


def test_buses_do_not_meet() -> None:
    mixed = device(0x1000, 8, 0x1000)
    regions = (mixed.regions[0], replace(mixed.regions[1], bus=Bus.PIO), mixed.regions[2])
    first = place(replace(mixed, regions=regions), Q35)
    assert first.regions == (0xFEF00000, 0xD00, 0xFEF01000)
    second = place(replace(mixed, regions=regions, name="other"), Q35, taken=[first])
    assert second.regions == (0xFEF02000, 0xD10, 0xFEF03000)
    same_number = replace(mixed, regions=regions[:2], name="low")
    assert place(same_number, Q35, [0x2000, 0x2000], taken=[first]).regions == (0x2000, 0x2000)


def test_whole_window_of_ports_fits() -> None:
    assert place(ports(0x300), Q35).regions == (0xD00,)
    with pytest.raises(PlacementError) as caught:
        place(ports(0x301), MICROVM)
    assert str(caught.value) == (
        "device dev: region 0 of 0x301 ports: no room in the window 0xd00..0xfff of microvm; "
        "give a port with --at"
    )


@pytest.mark.parametrize(("base", "size"), [(0, 0x10000), (0xFFFF, 1), (0xFFF8, 8), (0x3F9, 3)])
def test_given_ports_need_no_alignment(base: int, size: int) -> None:
    assert place(ports(size), Q35, [base]).regions == (base,)


@pytest.mark.parametrize(
    ("base", "size", "reason"),
    [
        (0xFFF9, 8, "port 0xfff9 is out of range, 0..0xffff"),
        (0x10000, 1, "port 0x10000 is out of range"),
        (0, 0x10001, "port 0x0 is out of range"),
        (-1, 1, "port -0x1 is out of range"),
        (0xCF9, 8, "port 0xcf9..0xd00 overlaps device first at port 0xd00..0xd07"),
        (0xD07, 8, "port 0xd07..0xd0e overlaps device first at port 0xd00..0xd07"),
    ],
)
def test_wrong_port(base: int, size: int, reason: str) -> None:
    first = place(ports(8, name="first"), Q35)
    with pytest.raises(PlacementError, match=re.escape(reason)):
        place(ports(size), Q35, [base], taken=[first])


def fixed(spec: DeviceSpec, *bases: int | None) -> DeviceSpec:
    regions = tuple(
        replace(region, base=base) for region, base in zip(spec.regions, bases, strict=True)
    )
    return replace(spec, regions=regions)


QEMU = Occupied(
    memory=(Extent(0xFEF00000, 0xFEF02000, "QEMU's hpet"),),
    ports=(Extent(0xD00, 0xD08, "QEMU's serial"),),
    gsis={5: "QEMU's sb16", 4: "QEMU's isa-serial"},
)


def test_a_region_goes_where_its_object_says() -> None:
    spec = fixed(device(0x1000, 0x1000, 0x1000), None, 0xFEF00000, None)
    assert place(spec, Q35).regions == (0xFEF01000, 0xFEF00000, 0xFEF02000)
    assert place(fixed(ports(8), 0x3F8), Q35).regions == (0x3F8,)


def test_places_are_given_for_the_other_regions_only() -> None:
    spec = fixed(device(0x1000, 0x1000), 0xD0000000, None)
    assert place(spec, Q35, [0xE0000000]).regions == (0xD0000000, 0xE0000000)
    for wrong in ([], [0xE0000000, 0xF0000000]):
        with pytest.raises(PlacementError) as caught:
            place(spec, Q35, wrong)
        assert str(caught.value) == (
            f"device dev: {len(wrong)} addresses given for 1 regions, "
            "and the object places 1 itself"
        )


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (
            fixed(device(0x1000), 0xFEF01000),
            "device dev: region 0 at 0xfef01000..0xfef01fff overlaps QEMU's hpet at "
            "0xfef00000..0xfef01fff; its object says that it must be there",
        ),
        (
            fixed(ports(1), 0xD07),
            "device dev: region 0 at port 0xd07..0xd07 overlaps QEMU's serial at "
            "port 0xd00..0xd07; its object says that it must be there",
        ),
        (
            fixed(device(0x1000), 0xFEF00010),
            "device dev: region 0: address 0xfef00010 is not aligned to 0x1000",
        ),
        (
            fixed(device(0x1000, 0x1000), 0xD0000000, 0xD0000000),
            "device dev: region 1 at 0xd0000000..0xd0000fff overlaps device dev at "
            "0xd0000000..0xd0000fff; its object says that it must be there",
        ),
    ],
    ids=["taken", "taken port", "misaligned", "its own"],
)
def test_a_place_of_the_object_is_checked_like_a_given_one(spec: DeviceSpec, sentence: str) -> None:
    with pytest.raises(PlacementError) as caught:
        place(spec, Q35, occupied=QEMU)
    assert str(caught.value) == sentence


def test_what_the_vmm_has_is_avoided() -> None:
    placed = place(device(0x1000, irqs=2), Q35, occupied=QEMU)
    assert (placed.regions, placed.irqs) == ((0xFEF02000,), (6, 3))
    assert place(ports(8), Q35, occupied=QEMU).regions == (0xD10,)


def test_what_the_vmm_has_is_named_where_it_is_asked_for() -> None:
    with pytest.raises(PlacementError) as caught:
        place(device(0x2000), Q35, [0xFEF01000], occupied=QEMU)
    assert str(caught.value) == (
        "device dev: region 0 at 0xfef01000..0xfef02fff overlaps QEMU's hpet at "
        "0xfef00000..0xfef01fff; give another address with --at"
    )
    with pytest.raises(PlacementError) as caught:
        place(device(0x1000, irqs=1), Q35, gsis=[4], occupied=QEMU)
    assert str(caught.value) == (
        "device dev: irq 0: gsi 4 is taken by QEMU's isa-serial; give another one with --gsi"
    )


def test_no_room_beside_what_the_vmm_has() -> None:
    full = Occupied(memory=(Extent(0xFEF00000, 0xFEFFB001, "QEMU's big one"),))
    with pytest.raises(PlacementError, match="no room in the window"):
        place(device(0x1000), Q35, occupied=full)
    none = Occupied(gsis=dict.fromkeys(range(24), "QEMU"))
    with pytest.raises(PlacementError, match="needs 1 interrupts, pc has 0 free; give gsi numbers"):
        place(device(0x1000, irqs=1), PC, occupied=none)
