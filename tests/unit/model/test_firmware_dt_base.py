# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.model.firmware.dt: devices merged into a tree that a machine has."""

from __future__ import annotations

import random
import re
import struct
import subprocess
from collections.abc import Callable
from dataclasses import replace

import pytest

from kvmbpf.errors import BadFileError, PlacementError
from kvmbpf.model.firmware.dt import Base, to_dtb, to_dts
from kvmbpf.model.firmware.tree import Tree
from kvmbpf.model.placement import Placed
from kvmbpf.model.spec import Bus, DeviceSpec, IrqSpec, PropertySpec, RegionSpec, Trigger
from tests.unit.model.trees import compiled, warnings

DEMO = DeviceSpec(
    name="demo",
    compatible=("kvmbpf,demo",),
    version=1,
    regions=(RegionSpec(0, Bus.MMIO, 0x1000, "kvmbpf_read", "kvmbpf_write"),),
    irqs=(IrqSpec(0),),
)
AT = 0x0C000000
DEVICE = Placed(DEMO, (AT,), (112,))

# In miniature what QEMU's arm64 machine has, and what it has not.
VIRT = r"""
/memreserve/ 0x1000 0x2000;
/ {
	compatible = "linux,dummy-virt";
	#address-cells = <2>; #size-cells = <2>;
	interrupt-parent = <&gic>;
	gic: intc@8000000 {
		compatible = "arm,cortex-a15-gic";
		reg = <0 0x8000000 0 0x10000>;
		interrupt-controller; #interrupt-cells = <3>;
	};
	clk: apb-pclk { compatible = "fixed-clock"; #clock-cells = <0>; clock-frequency = <24000000>; };
	lonely: nothing { odd = "back\\slash\t\"quoted\"", "two"; bytes = [01 02 03]; empty; };
	uart: pl011@9000000 { reg = <0 0x9000000 0 0x1000>; interrupts = <0 1 4>; clocks = <&clk>; };
	platform: platform-bus@c000000 {
		compatible = "qemu,platform", "simple-bus";
		#address-cells = <1>; #size-cells = <1>;
		ranges = <0 0 0xc000000 0x2000000>;
		inner: bus@100000 {
			compatible = "simple-bus";
			#address-cells = <2>; #size-cells = <1>;
			ranges = <1 0 0x100000 0x1000>, <2 0 0x200000 0x1000>;
		};
	};
	wide: bus { #address-cells = <2>; #size-cells = <1>; ranges; };
	narrow: bus-narrow { #address-cells = <1>; #size-cells = <2>; ranges; };
	closed: bus-closed { #address-cells = <1>; #size-cells = <1>; };
	broken: bus-broken { #address-cells = <1>; #size-cells = <1>; ranges = <1 2 3>; };
	pci: pci { #address-cells = <3>; #size-cells = <2>; ranges; };
	isa: isa { compatible = "isa"; #address-cells = <2>; #size-cells = <1>; ranges; };
	ioapic: ioapic {
		compatible = "intel,ce4100-ioapic"; interrupt-controller; #interrupt-cells = <2>;
	};
	aic: aic { compatible = "acme,aic"; interrupt-controller; #interrupt-cells = <2>; };
	one: one { compatible = "acme,one"; interrupt-controller; #interrupt-cells = <1>; };
};
"""


@pytest.fixture(scope="module")
def virt() -> bytes:
    return compiled(VIRT)


def node_of(blob: bytes, path: str) -> dict[str, str]:
    """Return a node's properties as dtc prints them."""
    text = dtc_loosely(blob)
    for name in filter(None, path.split("/")):
        start = re.search(rf"(?<=[;{{\s]){re.escape(name)} \{{", text)
        assert start is not None, f"no {path}"
        text = text[start.end() :]
    text = text.partition("}")[0].partition("{")[0]
    found = (item.strip().partition(" = ") for item in text.split(";"))
    return {name: value for name, _, value in found if name}


def dtc_loosely(blob: bytes) -> str:
    """Return a tree's source; the miniature is not beyond dtc's reproach."""
    done = subprocess.run(
        ["dtc", "-q", "-I", "dtb", "-O", "dts"], input=blob, capture_output=True, check=True
    )
    return " ".join(done.stdout.decode().split())


def merged(virt: bytes, device: Placed = DEVICE, **how: str) -> bytes:
    how.setdefault("parent", "/")
    return to_dtb([device], Base(virt, "virt.dtb", **how))


def refused(virt: bytes, device: Placed = DEVICE, **how: str) -> str:
    with pytest.raises(PlacementError) as caught:
        merged(virt, device, **how)
    line = str(caught.value)
    assert line.isprintable()
    return line


def test_a_node_in_the_root(virt: bytes) -> None:
    assert node_of(merged(virt), "/demo@c000000") == {
        "compatible": '"kvmbpf,demo"',
        "reg": "<0x00 0xc000000 0x00 0x1000>",
        "interrupts": "<0x00 0x70 0x01>",
    }


def test_the_rest_is_kept_byte_for_byte(virt: bytes) -> None:
    blob = merged(virt)
    removed = subprocess.run(
        ["dtc", "-q", "-I", "dts", "-O", "dtb", "-s"],
        input=re.sub(r"demo@c000000 \{[^}]*\};", "", dtc_loosely(blob)).encode(),
        capture_output=True,
        check=True,
    ).stdout
    done = subprocess.run(
        ["dtc", "-q", "-I", "dtb", "-O", "dtb", "-s"], input=virt, capture_output=True, check=True
    )
    assert removed == done.stdout


def test_source_and_blob_are_the_same_tree(virt: bytes) -> None:
    base = Base(virt, "virt.dtb")
    source = subprocess.run(
        ["dtc", "-q", "-I", "dts", "-O", "dtb", "-s"],
        input=to_dts([DEVICE], base).encode(),
        capture_output=True,
        check=True,
    ).stdout
    blob = to_dtb([DEVICE], base)
    done = subprocess.run(
        ["dtc", "-q", "-I", "dtb", "-O", "dtb", "-s"], input=blob, capture_output=True, check=True
    )
    assert source == done.stdout


def test_two_merges_do_not_know_of_each_other(virt: bytes) -> None:
    assert merged(virt) == merged(virt)
    assert dtc_loosely(merged(virt)).count("/memreserve/") == 1
    assert "/memreserve/" not in dtc_loosely(to_dtb([replace(DEVICE, irqs=())]))


@pytest.mark.parametrize(
    ("at", "size", "path"),
    [
        (AT, 0x1000, "/platform-bus@c000000/demo@0"),
        (AT + 0x1FFF000, 0x1000, "/platform-bus@c000000/demo@1fff000"),
        (AT + 0x1FFF000, 0x2000, "/demo@dfff000"),
        (AT - 0x1000, 0x1000, "/demo@bfff000"),
        (0x123456000, 0x1000, "/demo@123456000"),
    ],
)
def test_a_device_in_a_buss_window_is_on_that_bus(
    virt: bytes, at: int, size: int, path: str
) -> None:
    spec = replace(DEMO, regions=(replace(DEMO.regions[0], size=size),))
    blob = to_dtb([Placed(spec, (at,), (112,))], Base(virt, "virt.dtb"))
    assert node_of(blob, path)["compatible"] == '"kvmbpf,demo"'
    assert warnings(blob) <= warnings(virt)


@pytest.mark.parametrize(
    ("parent", "at", "name", "reg"),
    [
        ("/platform-bus@c000000", AT + 0x5000, "demo@5000", "<0x5000 0x1000>"),
        ("platform", AT + 0x1FFF000, "demo@1fff000", "<0x1fff000 0x1000>"),
        ("inner", AT + 0x100000, "demo@100000000", "<0x01 0x00 0x1000>"),
        ("inner", AT + 0x200000, "demo@200000000", "<0x02 0x00 0x1000>"),
        ("wide", 0x123456000, "demo@123456000", "<0x01 0x23456000 0x1000>"),
        ("narrow", 0xFFFFF000, "demo@fffff000", "<0xfffff000 0x00 0x1000>"),
    ],
)
def test_the_addresses_are_the_parents(
    virt: bytes, parent: str, at: int, name: str, reg: str
) -> None:
    blob = merged(virt, replace(DEVICE, regions=(at,)), parent=parent)
    assert node_of(blob, f"/{name}")["reg"] == reg


def test_several_regions_and_irqs(virt: bytes) -> None:
    spec = replace(
        DEMO,
        regions=(DEMO.regions[0], replace(DEMO.regions[0], index=1, size=1 << 33)),
        irqs=(IrqSpec(0), IrqSpec(1, Trigger.LEVEL)),
    )
    node = node_of(merged(virt, Placed(spec, (AT, 1 << 40), (112, 987))), "/demo@c000000")
    assert node["reg"] == "<0x00 0xc000000 0x00 0x1000 0x100 0x00 0x02 0x00>"
    assert node["interrupts"] == "<0x00 0x70 0x01 0x00 0x3db 0x04>"


@pytest.mark.parametrize(
    ("target", "cells"),
    [
        ("ioapic", "<0x10 0x03 0x11 0x01>"),
        ("/aic", "<0x10 0x01 0x11 0x04>"),
        ("/intc@8000000", "<0x00 0x10 0x01 0x00 0x11 0x04>"),
    ],
)
def test_each_controllers_form(virt: bytes, target: str, cells: str) -> None:
    spec = replace(DEMO, irqs=(IrqSpec(0), IrqSpec(1, Trigger.LEVEL)))
    blob = merged(virt, Placed(spec, (AT,), (16, 17)), interrupt_parent=target)
    node = node_of(blob, "/demo@c000000")
    assert node["interrupts"] == cells
    # The tree's own is the one that applies anyway.
    assert ("interrupt-parent" in node) is (target != "/intc@8000000")
    if "interrupt-parent" in node:
        name = target.lstrip("/")
        assert node["interrupt-parent"] == node_of(blob, f"/{name}")["phandle"]


def test_no_irq_needs_no_controller(virt: bytes) -> None:
    device = Placed(replace(DEMO, irqs=()), (AT,), ())
    assert "interrupts" not in node_of(merged(virt, device), "/demo@c000000")
    assert "interrupts" not in node_of(
        to_dtb([device], Base(compiled("/ { #address-cells = <1>; #size-cells = <1>; };"), "x")),
        "/demo@c000000",
    )


def test_references_are_phandles_of_the_base(virt: bytes) -> None:
    spec = replace(
        DEMO,
        properties=(
            PropertySpec("clocks", "<&clk>, <&{/apb-pclk}>"),
            PropertySpec("acme,peer", "<&lonely 7 &{/demo@c000000} &{/}>"),
        ),
    )
    blob = merged(virt, replace(DEVICE, spec=spec))
    node = node_of(blob, "/demo@c000000")
    clock = node_of(blob, "/apb-pclk")["phandle"].strip("<>")
    assert node["clocks"] == f"<{clock} {clock}>"
    # Those that had no phandle have one now, each its own.
    lonely, seven, own, root = node["acme,peer"].strip("<>").split()
    assert seven == "0x07"
    assert node_of(blob, "/nothing")["phandle"] == f"<{lonely}>"
    assert node["phandle"] == f"<{own}>"
    assert f"phandle = <{root}>;" in dtc_loosely(blob)
    assert len({clock, lonely, own, root}) == 4


def test_devices_refer_to_each_other_in_any_order(virt: bytes) -> None:
    first = replace(DEMO, properties=(PropertySpec("peer", "<&{/other@c001000}>"),))
    other = replace(DEMO, name="other", properties=(PropertySpec("peer", "<&{/demo@c000000}>"),))
    devices = [Placed(first, (AT,), (112,)), Placed(other, (AT + 0x1000,), (113,))]
    blob = to_dtb(devices, Base(virt, "virt.dtb", "/"))
    demo, other_node = node_of(blob, "/demo@c000000"), node_of(blob, "/other@c001000")
    assert demo["peer"] == other_node["phandle"]
    assert other_node["peer"] == demo["phandle"]


def test_phandles_when_the_largest_is_taken() -> None:
    base = compiled(
        "/ { #address-cells = <1>; #size-cells = <1>; a { phandle = <0xfffffffd>; };"
        " b { phandle = <1>; }; c { }; };"
    )
    spec = replace(DEMO, irqs=(), properties=(PropertySpec("p", "<&{/c}>"),))
    blob = to_dtb([Placed(spec, (AT,), ())], Base(base, "x"))
    assert node_of(blob, "/demo@c000000")["p"] == "<0x02>"


def test_ports_get_an_isa_bus_in_the_base(virt: bytes) -> None:
    ports = replace(DEMO, name="ports", regions=(replace(DEMO.regions[0], bus=Bus.PIO, size=8),))
    blob = merged(virt, Placed(ports, (0xD00,), (112,)))
    assert node_of(blob, "/isa@0/ports@d00")["reg"] == "<0x01 0xd00 0x08>"
    # A tree that has it takes more.
    again = merged(blob, Placed(replace(ports, name="more"), (0xD10,), (113,)))
    assert node_of(again, "/isa@0/more@d10")["reg"] == "<0x01 0xd10 0x08>"
    assert dtc_loosely(again).count("isa@0 {") == 1
    taken = VIRT.replace("isa: isa {", "isa: isa@0 {")
    line = refused(compiled(taken), Placed(ports, (0xD00,), (112,)))
    assert line == "virt.dtb: /isa@0 is there already, and has other ranges"


def moved(at: int, gsi: int = 112) -> Placed:
    return Placed(DEMO, (at,), (gsi,))


def with_property(value: str) -> Placed:
    return replace(DEVICE, spec=replace(DEMO, properties=(PropertySpec("p", value),)))


@pytest.mark.parametrize(
    ("device", "how", "line"),
    [
        (with_property("<&nix>"), {}, "device demo: property p: &nix: virt.dtb: no label nix"),
        (
            with_property("<&{/intc}>"),
            {},
            "device demo: property p: &{/intc}: virt.dtb: no node /intc; there is intc@8000000",
        ),
        (DEVICE, {"parent": "/soc"}, "virt.dtb: no node /soc"),
        (DEVICE, {"parent": "nix"}, "virt.dtb: no label nix"),
        (
            DEVICE,
            {"parent": "uart"},
            "virt.dtb: /pl011@9000000 is no bus: it has no #address-cells",
        ),
        (DEVICE, {"parent": "pci"}, "virt.dtb: /pci has #address-cells = <3>, expected 1 or 2"),
        (
            DEVICE,
            {"parent": "isa"},
            "virt.dtb: /isa is an ISA bus; kvmbpf makes one of its own where a device has ports",
        ),
        (
            DEVICE,
            {"parent": "closed"},
            "virt.dtb: /bus-closed has no ranges: nothing on it has an address",
        ),
        (
            DEVICE,
            {"parent": "broken"},
            "virt.dtb: /bus-broken has ranges of 3 cells, expected a multiple of 4",
        ),
        (
            moved(0xE000000),
            {"parent": "platform"},
            "virt.dtb: /platform-bus@c000000 has no room for 0x1000 bytes at 0xe000000: it has "
            "0xc000000..0xdffffff",
        ),
        (
            moved(1 << 32),
            {"parent": "narrow"},
            "virt.dtb: device demo: region 0 at 0x100000000: its address 0x100000000 does not fit "
            "into the 32 bits that /bus-narrow has for it",
        ),
        (
            Placed(replace(DEMO, regions=(replace(DEMO.regions[0], size=1 << 32),)), (AT,), (112,)),
            {"parent": "wide"},
            "virt.dtb: device demo: region 0 at 0xc000000: its size 0x100000000 does not fit "
            "into the 32 bits that /bus has for it",
        ),
        (
            moved(0x9000000),
            {},
            "virt.dtb: device demo: region 0 at 0x9000000 overlaps /pl011@9000000",
        ),
        (moved(AT, 1), {}, "virt.dtb: device demo: irq 0: gsi 1 is taken by /pl011@9000000"),
        (moved(AT, 988), {}, "virt.dtb: device demo: irq 0: gsi 988: a GIC has SPI 0 to 987"),
        (DEVICE, {"interrupt_parent": "nix"}, "virt.dtb: no label nix"),
        (DEVICE, {"interrupt_parent": "clk"}, "virt.dtb: /apb-pclk is no interrupt controller"),
        (
            DEVICE,
            {"interrupt_parent": "one"},
            "virt.dtb: /one (acme,one) wants 1 cells an interrupt; kvmbpf knows the 3 of a GIC and "
            "the 2 of others (number, flags)",
        ),
    ],
)
def test_what_is_refused_and_why(
    virt: bytes, device: Placed, how: dict[str, str], line: str
) -> None:
    assert refused(virt, device, **how) == line


def test_twice(virt: bytes) -> None:
    once = merged(virt)
    assert refused(once) == "virt.dtb: / has a node demo@c000000 already"
    other = replace(DEVICE, spec=replace(DEMO, name="other"))
    assert refused(once, other) == (
        "virt.dtb: device other: region 0 at 0xc000000 overlaps /demo@c000000"
    )
    beside = Placed(other.spec, (AT + 0x1000,), (112,))
    assert refused(once, beside) == (
        "virt.dtb: device other: irq 0: gsi 112 is taken by /demo@c000000"
    )


def test_a_label_where_there_are_none() -> None:
    base = compiled("/ { #address-cells = <1>; #size-cells = <1>; };")
    plain = subprocess.run(
        ["dtc", "-q", "-I", "dtb", "-O", "dtb"], input=base, capture_output=True, check=True
    ).stdout
    device = replace(with_property("<&clk>"), irqs=())
    device = replace(device, spec=replace(device.spec, irqs=()))
    assert refused(plain, device) == (
        "device demo: property p: &clk: virt.dtb: no label clk: the tree was made without "
        "__symbols__ (dtc -@); name the node by its path, as &{/intc@8000000}"
    )


def test_no_controller_applies() -> None:
    base = compiled("/ { #address-cells = <1>; #size-cells = <1>; };")
    assert refused(base) == (
        "virt.dtb: no interrupt controller applies to /; name one (--interrupt-parent)"
    )


def with_nops(blob: bytes) -> bytes:
    """Put an FDT_NOP before each token of a DTB, as QEMU's fdt_nop_*() leave them."""
    start, strings = struct.unpack_from(">II", blob, 8)
    content, at = bytearray(), start
    while True:
        (token,) = struct.unpack_from(">I", blob, at)
        end = at + 4
        if token == 1:
            end = blob.index(b"\0", end) + 1
        elif token == 3:
            end += 8 + struct.unpack_from(">I", blob, end)[0]
        end += -end % 4
        content += struct.pack(">I", 4) + blob[at:end]
        if token == 9:
            break
        at = end
    grown = len(content) - (strings - start)
    header = bytearray(blob[:start])
    struct.pack_into(">I", header, 4, len(blob) + grown)
    struct.pack_into(">I", header, 12, strings + grown)
    struct.pack_into(">I", header, 36, len(content))
    return bytes(header + content + blob[strings:])


def test_qemus_nops_are_passed_over(virt: bytes) -> None:
    assert merged(with_nops(virt)) == merged(virt)


def test_room_at_the_end_is_no_harm(virt: bytes) -> None:
    assert merged(virt + bytes(1 << 20)) == merged(virt)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda blob: b"", "begins with [], expected a DTB: d0 0d fe ed"),
        (
            lambda blob: b"\x7fELF" + blob[4:],
            "begins with [7f 45 4c 46], expected a DTB: d0 0d fe ed",
        ),
        (
            lambda blob: b"/dts-v1/; / { };",
            "source text; compile it: dtc -@ -O dtb -o BASE.dtb FILE",
        ),
        (lambda blob: blob[:6], "a damaged device tree: "),
        (lambda blob: blob[:100], "a damaged device tree: it is cut off"),
        (
            lambda blob: blob[:20] + bytes(4) + blob[24:],
            "a damaged device tree: version 0, expected",
        ),
        (lambda blob: blob + bytes(16 << 20), "bytes, expected a DTB of at most 16777216"),
    ],
)
def test_what_is_no_device_tree(virt: bytes, change: Callable[[bytes], bytes], reason: str) -> None:
    with pytest.raises(BadFileError) as caught:
        merged(change(virt))
    assert reason in str(caught.value)
    assert str(caught.value).startswith("virt.dtb: ")


def test_nodes_without_end() -> None:
    deep = compiled("/ {" + "a {" * 65 + "};" * 65 + "};")
    with pytest.raises(BadFileError, match="nodes nested deeper than 64"):
        Tree.parse(deep, "deep.dtb")
    Tree.parse(compiled("/ {" + "a {" * 64 + "};" * 64 + "};"), "deep.dtb").to_dts()


def outcome(blob: bytes) -> bytes | str:
    """Merge into a tree, or return the line that says why not."""
    try:
        return merged(blob)
    except (BadFileError, PlacementError) as error:
        return str(error)


def test_damaged_trees_end_in_one_line(virt: bytes) -> None:
    rng = random.Random(1)  # noqa: S311 (no secret)
    values = [0, 1, 4, 9, 10, 0x2F, 0xFF]
    good = 0
    for _ in range(2000):
        blob = bytearray(virt)
        for _ in range(rng.choice([1, 1, 2, 8])):
            blob[rng.randrange(len(blob))] = rng.choice([*values, rng.randrange(256)])
        found = outcome(bytes(blob))
        if isinstance(found, str):
            assert found.isprintable()
        else:
            Tree.parse(found, "again")
            good += 1
    assert good > 100
