# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.model.firmware.dt: a tree of devices alone, as dtc reads it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from kvmbpf.errors import PlacementError
from kvmbpf.model.firmware.dt import to_dtb, to_dts
from kvmbpf.model.placement import Q35, Placed, place
from kvmbpf.model.spec import Bus, DeviceSpec, IrqSpec, PropertySpec, RegionSpec, Trigger
from tests.unit.model.trees import dtc, squeezed

DEMO = DeviceSpec(
    name="demo",
    compatible=("kvmbpf,demo",),
    version=1,
    regions=(RegionSpec(0, Bus.MMIO, 0x1000, "kvmbpf_read", "kvmbpf_write"),),
    irqs=(IrqSpec(0),),
)


def text_of(devices: list[Placed]) -> str:
    return squeezed(to_dtb(devices))


def test_whole_tree() -> None:
    expected = """
        /dts-v1/;
        / { #address-cells = <0x02>; #size-cells = <0x02>;
            kvmbpf-bus { #address-cells = <0x02>; #size-cells = <0x02>;
                compatible = "simple-bus"; ranges;
                demo@fef00000 { compatible = "kvmbpf,demo"; reg = <0x00 0xfef00000 0x00 0x1000>; };
            };
        };
        """
    assert text_of([place(DEMO, Q35)]) == " ".join(expected.split())


def test_source_and_blob_are_the_same_tree() -> None:
    devices = [place(DEMO, Q35)]
    source = to_dts(devices).encode()
    blob = to_dtb(devices)
    assert dtc(source, "dts", "dtb") == dtc(blob, "dtb", "dtb")


def test_blob_survives_dtc() -> None:
    blob = dtc(to_dtb([place(DEMO, Q35)]), "dtb", "dtb")
    assert dtc(blob, "dtb", "dts") == dtc(to_dtb([place(DEMO, Q35)]), "dtb", "dts")


def test_interrupts_are_left_out() -> None:
    spec = replace(DEMO, irqs=(IrqSpec(0), IrqSpec(1, Trigger.LEVEL)))
    assert "interrupt" not in text_of([place(spec, Q35)])


def test_several_regions_above_4_gib_too() -> None:
    spec = replace(DEMO, regions=(DEMO.regions[0], replace(DEMO.regions[0], index=1, size=1 << 33)))
    text = text_of([place(spec, Q35, gpas=[0x1234567000, 0x500000000])])
    assert "demo@1234567000 {" in text
    assert "reg = <0x12 0x34567000 0x00 0x1000 0x05 0x00 0x02 0x00>;" in text


def test_several_devices() -> None:
    first = place(DEMO, Q35)
    second = place(replace(DEMO, name="other"), Q35, taken=[first])
    text = text_of([first, second])
    assert re.findall(r"(\w+@\w+) \{", text) == ["demo@fef00000", "other@fef01000"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", "p;"),
        ("<>", "p;"),
        ("<1000000>", "p = <0xf4240>;"),
        ("<1>, <2 3>", "p = <0x01 0x02 0x03>;"),
        ('"x y"', 'p = "x y";'),
        ('"a", "b"', 'p = "a", "b";'),
        (r'"a\\b\"c"', r'p = "a\\b\"c";'),
        ('""', "p = [00];"),
        (r'"\x01\xff"', "p = [01 ff 00];"),
        ("[00 ff 10]", "p = [00 ff 10];"),
        ('"a", <1>, [02]', "p = [61 00 00 00 00 01 02];"),
    ],
)
def test_properties(value: str, text: str) -> None:
    spec = replace(DEMO, properties=(PropertySpec("p", value),))
    devices = [place(spec, Q35)]
    assert text in text_of(devices)
    assert dtc(to_dts(devices).encode(), "dts", "dtb") == dtc(to_dtb(devices), "dtb", "dtb")


def test_several_compatibles() -> None:
    spec = replace(DEMO, compatible=("acme,uart", "ns16550a"))
    assert 'compatible = "acme,uart", "ns16550a";' in text_of([place(spec, Q35)])


@pytest.mark.parametrize(
    ("name", "node"), [("a_b", "a-b"), ("_x", "x"), ("__", "device"), ("dev2_", "dev2")]
)
def test_a_nodes_name_is_one_that_dtc_likes(name: str, node: str) -> None:
    assert f"{node}@fef00000 {{" in text_of([place(replace(DEMO, name=name), Q35)])


@pytest.mark.parametrize("reference", ["&intc", "&{/kvmbpf-bus}"])
def test_a_reference_needs_a_base(reference: str) -> None:
    spec = replace(DEMO, properties=(PropertySpec("p", f"<{reference}>"),))
    with pytest.raises(PlacementError, match=r"^device demo: property p: &.* has no tree to be in"):
        to_dtb([place(spec, Q35)])


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("p", "<", "device demo: property p: column 1: < without its >"),
        ("reg", "<1>", "device demo: property reg: column 1: property reg is not a device's"),
        ("a_with_references", "", "a name that ends in _with_references cannot be written"),
    ],
)
def test_a_property_that_cannot_be_written(name: str, value: str, reason: str) -> None:
    spec = replace(DEMO, properties=(PropertySpec(name, value),))
    with pytest.raises(PlacementError, match=reason):
        to_dts([place(spec, Q35)])


PORTS = replace(DEMO, name="ports", regions=(replace(DEMO.regions[0], bus=Bus.PIO, size=8),))


def test_ports_are_on_a_bus_of_their_own() -> None:
    expected = """
        isa@0 { #address-cells = <0x02>; #size-cells = <0x01>; compatible = "isa";
            ranges = <0x01 0x00 0x00 0x00 0x10000 0x00 0x00 0x00 0x00 0x80000000 0x00
            0x80000000 0x00 0x80000000 0x80000000>;
            ports@d00 { compatible = "kvmbpf,demo"; reg = <0x01 0xd00 0x08>; };
        };
        """
    text = text_of([place(DEMO, Q35), place(PORTS, Q35)])
    assert " ".join(expected.split()) in text
    assert "demo@fef00000 {" in text


def test_ports_and_memory_of_one_device() -> None:
    spec = replace(PORTS, regions=(*PORTS.regions, replace(DEMO.regions[0], index=1)))
    text = text_of([place(spec, Q35)])
    assert "ports@d00 {" in text
    assert "reg = <0x01 0xd00 0x08 0x00 0xfef00000 0x1000>;" in text


def test_memory_first_gives_the_node_its_address() -> None:
    spec = replace(PORTS, regions=(DEMO.regions[0], replace(PORTS.regions[0], index=1)))
    assert "ports@fef00000 {" in text_of([place(spec, Q35)])


def test_ports_with_memory_above_4_gib() -> None:
    spec = replace(PORTS, regions=(*PORTS.regions, replace(DEMO.regions[0], index=1)))
    with pytest.raises(PlacementError, match="region 1 at 0x100000000: a device with ports"):
        to_dtb([place(spec, Q35, [0xD00, 1 << 32])])
