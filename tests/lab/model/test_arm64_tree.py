# SPDX-License-Identifier: GPL-2.0-or-later
"""An arm64 guest finds the devices that `kvmbpf.model.firmware.dt` put into its machine's tree."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from kvmbpf.model.firmware import Base, to_dtb
from kvmbpf.model.placement import Placed
from kvmbpf.model.spec import Bus, DeviceSpec, IrqSpec, PropertySpec, RegionSpec, Trigger
from tests.lab.arm64 import boot, dump_tree, make_guest
from tests.unit.model.trees import warnings

pytestmark = pytest.mark.on_host

FIRST = DeviceSpec(
    name="first",
    compatible=("acme,first", "acme,generic"),
    version=1,
    regions=(RegionSpec(0, Bus.MMIO, 0x1000, "r", "w"), RegionSpec(1, Bus.MMIO, 0x20000, "r", "w")),
    irqs=(IrqSpec(0), IrqSpec(1, Trigger.LEVEL)),
    properties=(
        PropertySpec("acme,on", ""),
        PropertySpec("clock-frequency", "<1843200>"),
        PropertySpec("clocks", "<&{/apb-pclk}>"),
        PropertySpec("clock-names", '"bus"'),
        PropertySpec("acme,names", r'"one", "t\x77o"'),
        PropertySpec("local-mac-address", "[52 54 00 12 34 56]"),
        PropertySpec("acme,peer", "<&{/second@b000000} 0xffffffff 'k'>"),
    ),
)
# Not in the window of the platform bus, so in the root.
SECOND = replace(
    FIRST,
    name="second",
    compatible=("acme,second",),
    regions=FIRST.regions[:1],
    irqs=(IrqSpec(0, Trigger.LEVEL),),
    properties=(),
)
DEVICES = (
    Placed(FIRST, (0x0C010000, 0x0C020000), (112, 175)),
    Placed(SECOND, (0x0B000000,), (130,)),
)


def cells(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


def test_a_guest_finds_the_devices(tmp_path: Path) -> None:
    base = dump_tree(tmp_path)
    tree = tmp_path / "guest.dtb"
    tree.write_bytes(to_dtb(DEVICES, Base(base.read_bytes(), str(base))))
    found = boot(make_guest(), tree)

    first = {
        path.rpartition("/")[2]: value
        for path, value in found.properties.items()
        if path.startswith("/platform-bus@c000000/first@10000/")
    }
    clock = found.properties["/apb-pclk/phandle"]
    peer = found.properties["/second@b000000/phandle"]
    assert first == {
        "name": b"first\0",
        "compatible": b"acme,first\0acme,generic\0",
        "reg": cells(0x10000, 0x1000, 0x20000, 0x20000),
        "interrupts": cells(0, 112, 1, 0, 175, 4),
        "acme,on": b"",
        "clock-frequency": cells(1843200),
        "clocks": clock,
        "clock-names": b"bus\0",
        "acme,names": b"one\0two\0",
        "local-mac-address": bytes.fromhex("525400123456"),
        "acme,peer": peer + cells(0xFFFFFFFF, ord("k")),
    }
    assert found.properties["/second@b000000/reg"] == cells(0, 0x0B000000, 0, 0x1000)
    assert found.properties["/second@b000000/interrupts"] == cells(0, 130, 4)
    # Platform devices, at the addresses that the guest's kernel worked out by itself.
    assert {"c010000.first", "b000000.second"} <= found.devices
    # And what QEMU had in the tree is there still.
    assert found.properties["/pl011@9000000/compatible"] == b"arm,pl011\0arm,primecell\0"


def test_without_them_the_guest_finds_none() -> None:
    found = boot(make_guest())
    assert not {"c010000.first", "b000000.second"} & found.devices
    assert not any("first@" in path or "second@" in path for path in found.properties)
    assert "/platform-bus@c000000/compatible" in found.properties


@pytest.mark.parametrize("machine", ["virt,gic-version=2", "virt,gic-version=3"])
def test_dtc_has_nothing_to_say_of_them(machine: str, tmp_path: Path) -> None:
    base = dump_tree(tmp_path, machine).read_bytes()
    merged = to_dtb(DEVICES, Base(base, machine))
    assert warnings(merged) <= warnings(base)
    assert b"acme,generic" in merged
