# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.model.firmware.acpi: the table, as ACPICA's own disassembler reads it."""

from __future__ import annotations

import re
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from kvmbpf.errors import PlacementError, UnsupportedError
from kvmbpf.model.firmware import aml
from kvmbpf.model.firmware.acpi import to_ssdt
from kvmbpf.model.placement import Q35, Placed, place
from kvmbpf.model.spec import Bus, DeviceSpec, IrqSpec, PropertySpec, RegionSpec, Trigger

DEMO = DeviceSpec(
    name="demo",
    compatible=("kvmbpf,demo",),
    version=1,
    regions=(RegionSpec(0, Bus.MMIO, 0x1000, "kvmbpf_read", "kvmbpf_write"),),
    irqs=(IrqSpec(0),),
)


def disassemble(table: bytes, folder: Path) -> str:
    """Return the table's ASL without comments, white space squeezed."""
    (folder / "table.aml").write_bytes(table)
    done = subprocess.run(
        ["iasl", "-d", "table.aml"], cwd=folder, capture_output=True, text=True, check=True
    )
    output = done.stdout + done.stderr
    assert not re.search(r"checksum|invalid|warning|error", output, re.IGNORECASE), output
    text = (folder / "table.dsl").read_text()
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)
    return " ".join(text.split())


def test_one_device_is_163_bytes() -> None:
    assert len(to_ssdt([place(DEMO, Q35)])) == 163


def test_header_and_checksum() -> None:
    table = to_ssdt([place(DEMO, Q35)])
    signature, length, revision = struct.unpack_from("<4sIB", table)
    assert (signature, length, revision) == (b"SSDT", len(table), 2)
    assert sum(table) & 0xFF == 0


def test_whole_table(tmp_path: Path) -> None:
    expected = r"""
        DefinitionBlock ("", "SSDT", 2, "KVMBPF", "KVMBPFDV", 0x00000001)
        { Scope (\_SB) { Device (KB00) {
            Name (_HID, "PRP0001")
            Name (_UID, Zero)
            Name (_CRS, ResourceTemplate () {
                Memory32Fixed (ReadWrite, 0xFEF00000, 0x00001000, )
                Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, ) { 0x00000005, } })
            Name (_DSD, Package (0x02) {
                ToUUID ("daffd814-6eba-4d8c-8a91-bc9bbf4aa301") ,
                Package (0x01) { Package (0x02) { "compatible", "kvmbpf,demo" } } })
        } } }
        """
    assert disassemble(to_ssdt([place(DEMO, Q35)]), tmp_path) == " ".join(expected.split())


def test_several_devices_each_with_its_own_name(tmp_path: Path) -> None:
    placed: list[Placed] = []
    for index in range(3):
        spec = replace(DEMO, compatible=(f"a,dev{index}",))
        placed.append(place(spec, Q35, taken=placed))
    text = disassemble(to_ssdt(placed), tmp_path)
    assert re.findall(r"Device \((\w+)\)", text) == ["KB00", "KB01", "KB02"]
    assert re.findall(r"_UID, (\w+)", text) == ["Zero", "One", "0x02"]
    assert re.findall(r'"compatible", "([^"]+)"', text) == ["a,dev0", "a,dev1", "a,dev2"]
    assert re.findall(r"ReadWrite, (\w+)", text) == ["0xFEF00000", "0xFEF01000", "0xFEF02000"]
    assert re.findall(r"\{ (0x\w+), \}", text) == ["0x00000005", "0x00000006", "0x00000003"]


def test_level_and_edge_in_their_order(tmp_path: Path) -> None:
    spec = replace(DEMO, irqs=(IrqSpec(0), IrqSpec(1, Trigger.LEVEL), IrqSpec(2)))
    text = disassemble(to_ssdt([Placed(spec, (0xFEF00000,), (9, 20, 300))]), tmp_path)
    assert re.findall(r"Interrupt \(ResourceConsumer, (\w+), ActiveHigh, Exclusive", text) == [
        "Edge",
        "Level",
        "Edge",
    ]
    assert re.findall(r"\{ (0x\w+), \}", text) == ["0x00000009", "0x00000014", "0x0000012C"]


def test_no_irq_no_interrupt(tmp_path: Path) -> None:
    text = disassemble(to_ssdt([place(replace(DEMO, irqs=()), Q35)]), tmp_path)
    assert "Interrupt" not in text
    assert "Memory32Fixed" in text


@pytest.mark.parametrize(
    ("gpa", "size", "wide"),
    [
        (0xFFFFF000, 0x1000, False),  # the last page below 4 GiB
        (0xFFFFF000, 0x1001, True),
        (0x100000000, 0x1000, True),
        (0xFFFFFFFFF000, 0x1000, True),
    ],
)
def test_above_4_gib(gpa: int, size: int, wide: bool, tmp_path: Path) -> None:
    spec = replace(DEMO, regions=(replace(DEMO.regions[0], size=size),))
    text = disassemble(to_ssdt([place(spec, Q35, gpas=[gpa])]), tmp_path)
    assert ("Memory32Fixed" in text) is not wide
    if wide:
        assert (
            "QWordMemory (ResourceConsumer, PosDecode, MinFixed, MaxFixed, NonCacheable, "
            f"ReadWrite, 0x{0:016X}, 0x{gpa:016X}, 0x{gpa + size - 1:016X}, 0x{0:016X}, "
            f"0x{size:016X}, ,, , AddressRangeMemory, TypeStatic)"
        ) in text


@pytest.mark.parametrize(
    ("value", "term"),
    [
        ("", "One"),
        ("<>", "One"),
        ("[]", "One"),
        ("<0>", "Zero"),
        ("<1000000>", "0x000F4240"),
        ("<0xffffffff>", "0xFFFFFFFF"),
        ("<1 2>", "Package (0x02) { One, 0x02 }"),
        ("<1>, <2>", "Package (0x02) { One, 0x02 }"),
        ('"x y"', '"x y"'),
        ('""', '""'),
        ('"a", "b"', 'Package (0x02) { "a", "b" }'),
        (r'"q\"b\\"', r'"q\"b\\"'),
        ("[05]", "0x05"),
        ("[00 ff]", "Package (0x02) { Zero, 0xFF }"),
    ],
)
def test_a_property_follows_compatible(value: str, term: str, tmp_path: Path) -> None:
    spec = replace(DEMO, properties=(PropertySpec("acme,p", value), PropertySpec("last", "<7>")))
    text = disassemble(to_ssdt([place(spec, Q35)]), tmp_path)
    assert (
        f'Package (0x02) {{ "compatible", "kvmbpf,demo" }}, Package (0x02) {{ "acme,p", {term} }}, '
        'Package (0x02) { "last", 0x07 }'
    ) in text


def test_several_compatibles_are_a_package(tmp_path: Path) -> None:
    spec = replace(DEMO, compatible=("acme,uart", "ns16550a"))
    text = disassemble(to_ssdt([place(spec, Q35)]), tmp_path)
    assert '"compatible", Package (0x02) { "acme,uart", "ns16550a" }' in text


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("<&intc 1>", "a reference, &intc"),
        ("<&{/soc/intc}>", "a reference, &{/soc/intc}"),
        ('"a", <1>', "strings and numbers together"),
        ('[01], "a"', "strings and numbers together"),
        ("<1>, [02]", "cells and bytes together"),
        (r'"\xfc"', "a string that is not ASCII, or has a NUL"),
        (r'"a\0b"', "a string that is not ASCII, or has a NUL"),
        (f"[{'00' * 256}]", "256 values, and a package has 255"),
        ("<", "column 1: < without its >"),
    ],
)
def test_what_acpi_cannot_say(value: str, found: str) -> None:
    spec = replace(DEMO, properties=(PropertySpec("p", value),))
    with pytest.raises(UnsupportedError) as caught:
        to_ssdt([place(spec, Q35)])
    assert str(caught.value) == (
        f"device demo: property p in ACPI: found {found}, needed strings, numbers or bytes; "
        "tell the guest by a device tree (kvmbpf dt), or leave the property out"
    )


def test_a_package_is_full(tmp_path: Path) -> None:
    spec = replace(DEMO, properties=(PropertySpec("p", f"[{'01' * 255}]"),))
    text = disassemble(to_ssdt([place(spec, Q35)]), tmp_path)
    assert '"p", Package (0xFF) { One, One,' in text
    with pytest.raises(ValueError, match="256 elements do not fit into one AML package"):
        aml.package(*[b"\0"] * 256)


EVERYTHING = DeviceSpec(
    name="everything",
    compatible=("acme,everything", "acme,something"),
    version=1,
    regions=(
        RegionSpec(0, Bus.MMIO, 0x1000, "r", "w"),
        RegionSpec(1, Bus.PIO, 8, "r", "w"),
        RegionSpec(2, Bus.PIO, 0x100, "r", "w"),
        RegionSpec(3, Bus.MMIO, 1 << 33, "r", "w"),
    ),
    irqs=(IrqSpec(0), IrqSpec(1, Trigger.LEVEL)),
    properties=(
        PropertySpec("on", ""),
        PropertySpec("clock-frequency", "<1843200>"),
        PropertySpec("label", r'"a \"b\" \\ \t c"'),
        PropertySpec("names", '"a", "b"'),
        PropertySpec("mac", "[52 54 00 12 34 56]"),
        PropertySpec("cells", "<0 1 0xff 0x100 0x10000 0xffffffff>"),
    ),
)


def test_iasl_makes_the_same_table_of_its_own_text(tmp_path: Path) -> None:
    """Disassembled and compiled again, not a byte differs but who compiled it."""
    placed = Placed(EVERYTHING, (0xFEF00000, 0xD00, 0xE00, 1 << 40), (5, 300))
    table = to_ssdt([placed, place(DEMO, Q35)])
    disassemble(table, tmp_path)
    done = subprocess.run(
        ["iasl", "-p", "again", "table.dsl"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 Errors, 0 Warnings, 0 Remarks" in done.stdout
    again = bytearray((tmp_path / "again.aml").read_bytes())
    again[9] = table[9]  # checksum
    again[28:36] = table[28:36]  # compiler
    assert bytes(again) == table


def test_largest_device_and_many_of_them(tmp_path: Path) -> None:
    spec = DeviceSpec(
        name="n" * 31,
        compatible=("c" * 63,),
        version=1,
        regions=tuple(RegionSpec(index, Bus.MMIO, 0x1000, "r", "w") for index in range(8)),
        irqs=tuple(IrqSpec(index) for index in range(32)),
    )
    placed = [
        Placed(
            spec,
            tuple((1 << 40) + (device * 8 + region) * 0x1000 for region in range(8)),
            tuple(device * 32 + irq for irq in range(32)),
        )
        for device in range(256)
    ]
    text = disassemble(to_ssdt(placed), tmp_path)
    assert text.count("Device (") == 256
    assert text.count("QWordMemory (") == 256 * 8
    assert text.count("Interrupt (") == 256 * 32
    with pytest.raises(PlacementError, match="257 devices, and one ACPI table takes 256"):
        to_ssdt([*placed, placed[0]])


@pytest.mark.parametrize("content", [0, 62, 63, 64, 4092, 4093, 4094, 4095, 1 << 19, 1 << 21])
def test_package_length_counts_itself(content: int) -> None:
    field = aml.package_length(content)
    more = field[0] >> 6
    assert len(field) == 1 + more
    if more:
        assert field[0] & 0x30 == 0
        total = field[0] & 0xF | int.from_bytes(field[1:], "little") << 4
    else:
        total = field[0]
    assert total == content + len(field)


def test_package_that_is_too_long() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        aml.package_length(1 << 28)


PORTS = replace(DEMO, regions=(RegionSpec(0, Bus.PIO, 8, "kvmbpf_read", "kvmbpf_write"),))


def test_ports(tmp_path: Path) -> None:
    text = disassemble(to_ssdt([place(PORTS, Q35)]), tmp_path)
    assert "ResourceTemplate () { IO (Decode16, 0x0D00, 0x0D00, 0x01, 0x08, )" in text
    assert "Memory32Fixed" not in text


def test_ports_and_memory_in_the_order_of_the_regions(tmp_path: Path) -> None:
    spec = replace(DEMO, regions=(PORTS.regions[0], replace(DEMO.regions[0], index=1)))
    text = disassemble(to_ssdt([place(spec, Q35)]), tmp_path)
    assert re.findall(r"(\w+) \((?:Decode16|ReadWrite)", text) == ["IO", "Memory32Fixed"]


@pytest.mark.parametrize(
    ("base", "size", "wide"),
    [
        (0xFF01, 0xFF, False),
        (0xFFFF, 1, False),
        (0xD00, 0x100, True),
        (0xFF00, 0x100, True),
        (0, 0x10000, True),
    ],
)
def test_how_many_ports_one_descriptor_takes(
    base: int, size: int, wide: bool, tmp_path: Path
) -> None:
    spec = replace(PORTS, regions=(replace(PORTS.regions[0], size=size),))
    text = disassemble(to_ssdt([place(spec, Q35, [base])]), tmp_path)
    if wide:
        assert (
            "DWordIO (ResourceConsumer, MinFixed, MaxFixed, PosDecode, EntireRange, "
            f"0x{0:08X}, 0x{base:08X}, 0x{base + size - 1:08X}, 0x{0:08X}, 0x{size:08X}, "
            ",, , TypeStatic, DenseTranslation)"
        ) in text
    else:
        assert f"IO (Decode16, 0x{base:04X}, 0x{base:04X}, 0x01, 0x{size:02X}, )" in text
