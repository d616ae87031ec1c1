# SPDX-License-Identifier: GPL-2.0-or-later
"""`info mtree -f`: recorded texts of QEMU 7.2, 10.0 and 11.1, and texts that are wrong."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvmbpf.errors import VmmError
from qemu_glue.mtree import MEMORY, PORTS, Kind, Range, parse_mtree, ranges_of

pytestmark = pytest.mark.unit
DATA = Path(__file__).parent / "data"
RECORDED = sorted(path.name.removesuffix(".mtree.txt") for path in DATA.glob("*.mtree.txt"))

MIXED = """\
FlatView #0
 AS "memory", root: system
 AS "cpu-memory-0", root: system
 Root memory region: system
  0000000000000000-00000000000bffff (prio 0, ram): pc.ram KVM
  00000000000c0000-00000000000dffff (prio 1, rom): pc.rom @0000000000000800 KVM
  00000000e0000000-00000000efffffff (prio 0, romd): system.flash0
  00000000f0000000-00000000f0000fff (prio 0, nv-ram): nvdimm of ours
  00000000f1000000-00000000f1000fff (prio 1, ramd): 0000:01:00.0 BAR 0 mmaps[0]
  00000000febf0000-00000000febf0fff (prio 1, i/o): virtio-pci-common-virtio-net owner:{dev id=n}
  00000000fec00000-00000000fec00fff (prio -1, i/o): kvm-ioapic
  00000000fed00000-00000000fed003ff (prio 0, container): a container

FlatView #1
 AS "I/O", root: io
 Root memory region: io
  0000000000000000-0000000000000007 (prio 0, i/o): dma-chan
  0000000000000008-000000000000ffff (prio 0, i/o): io @0000000000000008

FlatView #2
 AS "edu", root: bus master container
 Root memory region: (none)
  No rendered FlatView

"""


def ranges(text: str, space: str) -> tuple[Range, ...]:
    return ranges_of(parse_mtree(text), space)


def recorded(name: str) -> str:
    return (DATA / f"{name}.mtree.txt").read_text()


def test_kinds_and_names_are_told_apart() -> None:
    assert [(one.kind, one.name) for one in ranges(MIXED, MEMORY)] == [
        (Kind.RAM, "pc.ram"),
        (Kind.ROM, "pc.rom"),
        (Kind.ROM, "system.flash0"),
        (Kind.RAM, "nvdimm of ours"),
        (Kind.RAM, "0000:01:00.0 BAR 0 mmaps[0]"),
        (Kind.DEVICE, "virtio-pci-common-virtio-net"),
        (Kind.DEVICE, "kvm-ioapic"),
    ]
    assert ranges(MIXED, PORTS) == (Range(0, 7, Kind.DEVICE, "dma-chan"),)


def test_line_ends_of_the_monitor_are_no_matter() -> None:
    assert parse_mtree(MIXED.replace("\n", "\r\n")) == parse_mtree(MIXED)


def test_a_view_without_ranges_has_its_spaces() -> None:
    assert parse_mtree(MIXED)[2].spaces == ("edu",)
    assert parse_mtree(MIXED)[2].ranges == ()


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_map_is_whole(name: str) -> None:
    text = recorded(name)
    memory, ports = ranges(text, MEMORY), ranges(text, PORTS)
    assert memory[0].start == 0
    assert memory[0].kind is Kind.RAM
    assert memory[-1].last == 0xFFFFFFFF
    for found in (memory, ports):
        assert all(one.start <= one.last for one in found)
        assert all(a.last < b.start for a, b in itertools.pairwise(found))
    # What lies on any of them, whichever version and accelerator.
    assert any(one.start == 0xFEE00000 and one.kind is Kind.DEVICE for one in memory)
    assert any(one.start == 0x70 and one.kind is Kind.DEVICE for one in ports)
    assert not any(one.name in ("io", "system") for one in ports)
    assert not any(one.name.endswith(("KVM", " ")) or "@" in one.name for one in (*memory, *ports))


def test_the_windows_are_free_in_every_recorded_map() -> None:
    from kvmbpf.model.placement import PROFILES

    for name in RECORDED:
        profile = PROFILES[name.split("-")[1]]
        gpa, port = profile.window_gpa, profile.window_port
        for found, first, size in (
            (ranges(recorded(name), MEMORY), gpa, profile.window_bytes),
            (ranges(recorded(name), PORTS), port, profile.window_ports),
        ):
            assert [one for one in found if one.start < first + size and first <= one.last] == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", 'no view of the address space "memory"'),
        ("FlatView #0\n", 'no view of the address space "memory"'),
        (MIXED.replace('"memory"', '"other"'), 'no view of the address space "memory"'),
        (MIXED.replace("nv-ram", "magic"), "of an unknown kind: '00000000f0000000-"),
        (MIXED.replace("(prio 0, romd)", "[romd]"), "not understood: '00000000e0000000-"),
        (MIXED.replace("00000000fec00000", "fec00000"), "not understood: 'fec00000-"),
    ],
    ids=["empty", "no spaces", "no memory", "unknown kind", "other form", "short address"],
)
def test_what_is_not_understood_is_not_taken_for_room(text: str, sentence: str) -> None:
    with pytest.raises(VmmError) as caught:
        ranges(text, MEMORY)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(derandomize=True, deadline=None, database=None)
@given(st.data())
def test_a_damaged_map_is_read_or_refused(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(MIXED)))
    cut = data.draw(st.integers(0, 40))
    text = MIXED[:start] + data.draw(st.text(max_size=8)) + MIXED[start + cut :]
    said = ""
    try:
        views = parse_mtree(text)
        assert all(one.last >= 0 for view in views for one in view.ranges)
    except VmmError as error:
        said = str(error)
    assert "\n" not in said
