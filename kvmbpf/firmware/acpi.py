# SPDX-License-Identifier: GPL-2.0-or-later
"""Placed devices as an ACPI SSDT, for QEMU's ``-acpitable file=``.

Each device is a PRP0001 with a compatible string in its _DSD: a guest kernel
binds its device-tree drivers to that, with or without CONFIG_OF.
Source: Documentation/firmware-guide/acpi/enumeration.rst (v6.12).
"""

from __future__ import annotations

from collections.abc import Sequence

from kvmbpf.firmware import aml
from kvmbpf.firmware.values import simple_value
from kvmbpf.placement import Placed
from kvmbpf.spec import Bus, PropertySpec, Trigger

# Device properties for _DSD.
# Source: "_DSD (Device Specific Data) Implementation Guide", 3.1.
_DSD_PROPERTIES = "daffd814-6eba-4d8c-8a91-bc9bbf4aa301"


def to_ssdt(devices: Sequence[Placed]) -> bytes:
    """Return the table with its header.

    :param devices: the placed devices of one guest, up to 256.
    :raise ValueError: when there are more.
    """
    if len(devices) > 256:
        raise ValueError(f"{len(devices)} devices, one table takes 256")
    content = b"".join(_device(index, placed) for index, placed in enumerate(devices))
    return aml.table(b"SSDT", aml.scope(b"\\_SB_", content), oem_table=b"KVMBPFDV")


def _device(index: int, placed: Placed) -> bytes:
    spec = placed.spec
    descriptors = [
        _ports(base, region.size) if region.bus is Bus.PIO else _memory(base, region.size)
        for base, region in zip(placed.regions, spec.regions, strict=True)
    ]
    descriptors += [
        aml.interrupt(gsi, level=irq.trigger is Trigger.LEVEL)
        for gsi, irq in zip(placed.irqs, spec.irqs, strict=True)
    ]
    return aml.device(
        f"KB{index:02X}".encode("ascii"),
        aml.name(b"_HID", aml.string("PRP0001"))
        + aml.name(b"_UID", aml.integer(index))
        + aml.name(b"_CRS", aml.resources(*descriptors))
        + aml.name(
            b"_DSD",
            aml.package(
                aml.to_uuid(_DSD_PROPERTIES),
                aml.package(
                    aml.package(aml.string("compatible"), _strings(spec.compatible)),
                    *(_property(item) for item in spec.properties),
                ),
            ),
        ),
    )


def _memory(gpa: int, size: int) -> bytes:
    if gpa + size <= 1 << 32:
        return aml.memory32_fixed(gpa, size)
    return aml.qword_memory(gpa, size)


def _ports(base: int, size: int) -> bytes:
    return aml.io(base, size) if size <= 0xFF else aml.dword_io(base, size)


def _property(item: PropertySpec) -> bytes:
    found = simple_value(item)
    value = aml.string(found) if isinstance(found, str) else aml.integer(found)
    return aml.package(aml.string(item.name), value)


def _strings(values: tuple[str, ...]) -> bytes:
    if len(values) == 1:
        return aml.string(values[0])
    return aml.package(*(aml.string(value) for value in values))
