# SPDX-License-Identifier: GPL-2.0-or-later
"""Write a device's notes, from the documented layout and not from the reader.

What the reader accepts must come out of here as the same bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from kvmbpf.model.spec import Bus, DeviceSpec, IrqSpec, PropertySpec, RegionSpec, Trigger

DEVICE = 1
PROPERTY = 2

DEMO = DeviceSpec(
    name="demo",
    compatible=("kvmbpf,demo",),
    version=1,
    regions=(
        RegionSpec(
            0,
            Bus.MMIO,
            0x1000,
            "kvmbpf_read",
            "kvmbpf_write",
            "kvmbpf_call_read",
            "kvmbpf_call_write",
        ),
    ),
    irqs=(IrqSpec(0),),
)

# Everything that a device may have, at its largest.
LARGEST = DeviceSpec(
    name="n" * 31,
    compatible=("acme,largest-of-all", "acme,large", "c" * 96),
    version=0xFFFFFFFF,
    regions=(
        RegionSpec(0, Bus.MMIO, 1 << 52, "r" * 31, "w" * 31, "x" * 31, "y" * 31),
        RegionSpec(1, Bus.PIO, 1 << 16, "a", "b", "", ""),
        RegionSpec(2, Bus.MMIO, 0x1000, "a", "b", "c", "d", 0xFED00000),
        RegionSpec(3, Bus.MMIO, 0x1000, "a", "b", "c", "d", 0xFED01000),
        RegionSpec(4, Bus.PIO, 8, "a", "b", "c", "d", 0x3F8),
        RegionSpec(5, Bus.PIO, 8, "a", "b", "c", "d", 0xFFF8),
        RegionSpec(6, Bus.MMIO, (1 << 52) - (1 << 40), "a", "b", "c", "d", 1 << 40),
        RegionSpec(7, Bus.MMIO, 1, "a", "b", "c", "d", 1),
    ),
    irqs=tuple(IrqSpec(i, Trigger.LEVEL if i % 3 else Trigger.EDGE) for i in range(32)),
    properties=(
        *(PropertySpec(f"p{index}", f"<{index}>") for index in range(61)),
        PropertySpec("wakeup-source", ""),
        PropertySpec("label", '"front panel", "\u00e9"'),
        PropertySpec("x" * 31, '"' + "v" * 1021 + '"'),
    ),
    resets=True,
    concurrent=True,
)


def encode_note(kind: int, content: bytes, order: str = "<") -> bytes:
    """Return one note with its head.

    :param order: ``<`` or ``>``, as in `struct`.
    """
    head = struct.pack(f"{order}3I8s", 7, len(content), kind, b"KVMBPF")
    return head + content + bytes(-len(content) % 4)


def encode_device(spec: DeviceSpec, order: str = "<") -> bytes:
    """Return the content of the device note."""
    regions = b"".join(_region(region, order) for region in spec.regions)
    levels = sum(1 << irq.index for irq in spec.irqs if irq.trigger is Trigger.LEVEL)
    return struct.pack(
        f"{order}6I32s128s1216s",
        *(2, spec.version, spec.resets | spec.concurrent << 1, len(spec.irqs), levels, 0),
        spec.name.encode(),
        b"\0".join(item.encode() for item in spec.compatible),
        regions,
    )


def encode_property(item: PropertySpec, order: str = "<") -> bytes:
    """Return the content of a property note."""
    value = item.value.encode() + b"\0"
    return struct.pack(f"{order}I32s", 2, item.name.encode()) + value + bytes(-len(value) % 4)


def encode_notes(spec: DeviceSpec, order: str = "<", device_at: int = 0) -> bytes:
    """Return all notes of a device.

    :param device_at: how many of the properties come before the device's own note.
    """
    notes = [encode_note(PROPERTY, encode_property(p, order), order) for p in spec.properties]
    notes.insert(device_at, encode_note(DEVICE, encode_device(spec, order), order))
    return b"".join(notes)


def encodings(spec: DeviceSpec, order: str = "<") -> Sequence[bytes]:
    """Return all that the notes of a device may look like."""
    return [encode_notes(spec, order, place) for place in range(len(spec.properties) + 1)]


def _region(region: RegionSpec, order: str) -> bytes:
    names = (
        region.read_program,
        region.write_program,
        region.call_read_program,
        region.call_write_program,
    )
    return struct.pack(
        f"{order}2I2Q32s32s32s32s",
        *(int(region.bus), 0, region.size, region.base or 0),
        *(name.encode() for name in names),
    )
