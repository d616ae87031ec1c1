# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.firmware.dt: the tree, as dtc reads it."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace

import pytest

from kvmbpf.errors import PlacementError
from kvmbpf.firmware.dt import to_dtb, to_dts
from kvmbpf.placement import Q35, Placed, place
from kvmbpf.spec import Bus, DeviceSpec, IrqSpec, PropertySpec, RegionSpec, Trigger

DEMO = DeviceSpec(
    name="demo",
    compatible=("kvmbpf,demo",),
    version=1,
    regions=(RegionSpec(0, Bus.MMIO, 0x1000, "kvmbpf_read", "kvmbpf_write"),),
    irqs=(IrqSpec(0),),
)


# The interrupt controller is in the tree that a fragment is merged into.
_FRAGMENT = ("-W", "no-interrupts_property", "-W", "no-interrupt_provider")


def dtc(source: bytes, source_format: str, target_format: str) -> bytes:
    """Run dtc; it accepts the input without a word."""
    done = subprocess.run(
        ["dtc", "-I", source_format, "-O", target_format, "-s", *_FRAGMENT],
        input=source,
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
    return done.stdout


def text_of(devices: list[Placed], interrupt_parent: int | None = None) -> str:
    return " ".join(dtc(to_dtb(devices, interrupt_parent), "dtb", "dts").decode().split())


def test_whole_tree() -> None:
    expected = """
        /dts-v1/;
        / { #address-cells = <0x02>; #size-cells = <0x02>;
            kvmbpf { #address-cells = <0x02>; #size-cells = <0x02>;
                compatible = "simple-bus"; ranges;
                demo@fef00000 { compatible = "kvmbpf,demo"; reg = <0x00 0xfef00000 0x00 0x1000>; };
            };
        };
        """
    assert text_of([place(DEMO, Q35)]) == " ".join(expected.split())


def test_source_and_blob_are_the_same_tree() -> None:
    devices = [place(DEMO, Q35)]
    source = to_dts(devices, 3).encode()
    blob = to_dtb(devices, 3)
    assert dtc(source, "dts", "dts") == dtc(blob, "dtb", "dts")


def test_blob_survives_dtc() -> None:
    blob = dtc(to_dtb([place(DEMO, Q35)]), "dtb", "dtb")
    assert dtc(blob, "dtb", "dts") == dtc(to_dtb([place(DEMO, Q35)]), "dtb", "dts")


def test_interrupts_only_with_a_parent() -> None:
    spec = replace(DEMO, irqs=(IrqSpec(0), IrqSpec(1, Trigger.LEVEL)))
    devices = [place(spec, Q35)]
    assert "interrupt" not in text_of(devices)
    text = text_of(devices, interrupt_parent=9)
    assert "interrupt-parent = <0x09>;" in text
    assert "interrupts = <0x05 0x01 0x06 0x04>;" in text


def test_no_irq_no_interrupts() -> None:
    assert "interrupt" not in text_of([place(replace(DEMO, irqs=()), Q35)], 9)


def test_several_regions_above_4_gib_too() -> None:
    spec = replace(DEMO, regions=(DEMO.regions[0], replace(DEMO.regions[0], index=1, size=1 << 33)))
    text = text_of([place(spec, Q35, gpas=[0x1234567000, 0xFEF00000])])
    assert "demo@1234567000 {" in text
    assert "reg = <0x12 0x34567000 0x00 0x1000 0x00 0xfef00000 0x02 0x00>;" in text


def test_several_devices() -> None:
    first = place(DEMO, Q35)
    second = place(replace(DEMO, name="other"), Q35, taken=[first])
    text = text_of([first, second])
    assert re.findall(r"(\w+@\w+) \{", text) == ["demo@fef00000", "other@fef01000"]


def test_properties() -> None:
    spec = replace(
        DEMO,
        properties=(PropertySpec("clock-frequency", "<1000000>"), PropertySpec("label", '"x y"')),
    )
    text = text_of([place(spec, Q35)])
    assert "clock-frequency = <0xf4240>;" in text
    assert 'label = "x y";' in text


PORTS = replace(DEMO, name="ports", regions=(replace(DEMO.regions[0], bus=Bus.PIO, size=8),))


def test_ports_are_on_a_bus_of_their_own() -> None:
    expected = """
        isa@0 { #address-cells = <0x02>; #size-cells = <0x01>; compatible = "isa";
            ranges = <0x01 0x00 0x00 0x00 0x10000 0x00 0x00 0x00 0x00 0x80000000 0x00
            0x80000000 0x00 0x80000000 0x80000000>;
            ports@id00 { compatible = "kvmbpf,demo"; reg = <0x01 0xd00 0x08>; };
        };
        """
    text = text_of([place(DEMO, Q35), place(PORTS, Q35)])
    assert " ".join(expected.split()) in text
    assert "demo@fef00000 {" in text


def test_ports_and_memory_of_one_device() -> None:
    spec = replace(PORTS, regions=(*PORTS.regions, replace(DEMO.regions[0], index=1)))
    text = text_of([place(spec, Q35)], 9)
    assert "ports@id00 {" in text
    assert "reg = <0x01 0xd00 0x08 0x00 0xfef00000 0x1000>;" in text
    assert "interrupts = <0x05 0x01>;" in text


def test_memory_first_gives_the_node_its_address() -> None:
    spec = replace(PORTS, regions=(DEMO.regions[0], replace(PORTS.regions[0], index=1)))
    assert "ports@fef00000 {" in text_of([place(spec, Q35)])


def test_ports_with_memory_above_4_gib() -> None:
    spec = replace(PORTS, regions=(*PORTS.regions, replace(DEMO.regions[0], index=1)))
    with pytest.raises(PlacementError, match="region 1 at 0x100000000: a device with ports"):
        to_dtb([place(spec, Q35, [0xD00, 1 << 32])])
