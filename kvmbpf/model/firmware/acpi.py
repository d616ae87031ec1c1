# SPDX-License-Identifier: GPL-2.0-or-later
"""Placed devices as an ACPI SSDT, for QEMU's ``-acpitable file=``.

Each device is a PRP0001 with compatible strings in its _DSD: a guest kernel
binds its device-tree drivers to those, with or without CONFIG_OF. The device's
other properties stand beside them, so that device_property_read_*() gives a
driver what it gives it of a device tree:

    boolean         1
    "a"             a string; "a", "b" a package of them
    <1>             an integer; <1 2> a package of them
    [01]            the same of each byte, for device_property_read_u8_array()

The rest cannot be said, and is refused: a reference, for there is no tree that
has the node; strings and numbers in one property, which no driver could read; a
string that is not ASCII; more values than a package holds. A number of 64 bits,
two cells in a device tree, is a package of two here: a driver has to read it as
two of 32 bits to be served by both. And as one value is no package, a driver that
reads a list has to ask for its length first: reading more fails here.
Source: Documentation/firmware-guide/acpi/enumeration.rst and
drivers/acpi/property.c (v6.12).
"""

from __future__ import annotations

from collections.abc import Sequence

from kvmbpf.errors import PlacementError, UnsupportedError
from kvmbpf.model.dts import Bytes, Cells, DtsError, Reference, Strings, parse_value
from kvmbpf.model.firmware import aml
from kvmbpf.model.placement import Placed
from kvmbpf.model.spec import Bus, DeviceSpec, PropertySpec, Trigger

# Device properties for _DSD.
# Source: "_DSD (Device Specific Data) Implementation Guide", 3.1.
_DSD_PROPERTIES = "daffd814-6eba-4d8c-8a91-bc9bbf4aa301"


def to_ssdt(devices: Sequence[Placed]) -> bytes:
    """Return the table with its header.

    :param devices: the placed devices of one guest, up to 256.
    :raise PlacementError: when there are more.
    :raise UnsupportedError: when a device has a property that ACPI cannot say.
    """
    if len(devices) > 256:
        raise PlacementError(f"{len(devices)} devices, and one ACPI table takes 256")
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
                    *(_property(spec, item) for item in spec.properties),
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


def _property(spec: DeviceSpec, item: PropertySpec) -> bytes:
    return aml.package(aml.string(item.name), _value(spec, item))


def _value(spec: DeviceSpec, item: PropertySpec) -> bytes:
    """Return a property's value as one AML object."""
    try:
        value = parse_value(item.value)
    except DtsError as error:
        raise _refusal(spec, item, str(error)) from error
    terms: list[bytes] = []
    for part in value:
        match part:
            case Strings(values):
                terms += [_string(spec, item, text) for text in values]
            case Cells(cells):
                terms += [_integer(spec, item, cell) for cell in cells]
            case Bytes(data):
                terms += [aml.integer(byte) for byte in data]
    if len({isinstance(part, Strings) for part in value}) > 1:
        raise _refusal(spec, item, "strings and numbers together")
    if len({isinstance(part, Bytes) for part in value}) > 1:
        raise _refusal(spec, item, "cells and bytes together")
    if not terms:
        return aml.integer(1)
    if len(terms) > aml.MAX_PACKAGE:
        raise _refusal(spec, item, f"{len(terms)} values, and a package has {aml.MAX_PACKAGE}")
    return terms[0] if len(terms) == 1 else aml.package(*terms)


def _string(spec: DeviceSpec, item: PropertySpec, text: bytes) -> bytes:
    if b"\0" in text or not text.isascii():
        raise _refusal(spec, item, "a string that is not ASCII, or has a NUL")
    return aml.string(text.decode("ascii"))


def _integer(spec: DeviceSpec, item: PropertySpec, cell: int | Reference) -> bytes:
    if isinstance(cell, Reference):
        raise _refusal(spec, item, f"a reference, {cell}")
    return aml.integer(cell)


def _refusal(spec: DeviceSpec, item: PropertySpec, found: str) -> UnsupportedError:
    return UnsupportedError(
        f"device {spec.name}: property {item.name} in ACPI",
        found=found,
        needed="strings, numbers or bytes",
        mend="tell the guest by a device tree (kvmbpf dt), or leave the property out",
    )


def _strings(values: tuple[str, ...]) -> bytes:
    """Return the compatible strings, the most specific first."""
    if len(values) == 1:
        return aml.string(values[0])
    return aml.package(*(aml.string(value) for value in values))
