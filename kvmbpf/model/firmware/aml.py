# SPDX-License-Identifier: GPL-2.0-or-later
"""ACPI Machine Language: the few terms that a device table needs.

Each function returns the bytes of one term; terms nest by concatenation.
Source: ACPI specification 6.5, sections 5.2.6, 6.4 and 20.2.
"""

from __future__ import annotations

import struct
import uuid

MAX_PACKAGE = 255
"""How many elements a package has at most."""


def table(signature: bytes, body: bytes, *, oem_table: bytes) -> bytes:
    """Return a definition block: header, checksum and body.

    :param signature: of the table, 4 bytes.
    :param body: the terms.
    :param oem_table: the OEM's name of the table, 8 bytes.
    """
    # Revision 2: integers have 64 bits.
    length = 36 + len(body)
    head = struct.pack(
        "<4sIBB6s8sI4sI", signature, length, 2, 0, b"KVMBPF", oem_table, 1, b"KVBP", 1
    )
    whole = bytearray(head + body)
    whole[9] = -sum(whole) & 0xFF
    return bytes(whole)


def package_length(content: int) -> bytes:
    """Return the length field before `content` bytes; it counts itself.

    :raise ValueError: when it is too long for the field's 28 bits.
    """
    if content + 1 < 1 << 6:
        return bytes([content + 1])
    for more in (1, 2, 3):
        total = content + 1 + more
        if total < 1 << (4 + 8 * more):
            return bytes([more << 6 | total & 0xF]) + (total >> 4).to_bytes(more, "little")
    raise ValueError(f"{content} bytes do not fit into one AML package")


def scope(path: bytes, content: bytes) -> bytes:
    r"""Return ``Scope (path) { content }``; the path is encoded, as ``\_SB_``."""
    return b"\x10" + package_length(len(path) + len(content)) + path + content


def device(name: bytes, content: bytes) -> bytes:
    """Return ``Device (name) { content }``; the name has 4 bytes."""
    return b"\x5b\x82" + package_length(len(name) + len(content)) + name + content


def name(segment: bytes, value: bytes) -> bytes:
    """Return ``Name (segment, value)``; the segment has 4 bytes."""
    return b"\x08" + segment + value


def package(*items: bytes) -> bytes:
    """Return ``Package () { items }``.

    :raise ValueError: when there are more than `MAX_PACKAGE`.
    """
    if len(items) > MAX_PACKAGE:
        raise ValueError(f"{len(items)} elements do not fit into one AML package")
    content = bytes([len(items)]) + b"".join(items)
    return b"\x12" + package_length(len(content)) + content


def string(text: str) -> bytes:
    """Return a string; ASCII without NUL."""
    return b"\x0d" + text.encode("ascii") + b"\0"


def integer(value: int) -> bytes:
    """Return an integer (C ``u64``) in its shortest form."""
    if value in (0, 1):
        return bytes([value])
    for prefix, form in ((0x0A, "<B"), (0x0B, "<H"), (0x0C, "<I"), (0x0E, "<Q")):
        if value < 1 << (8 * struct.calcsize(form)):
            return bytes([prefix]) + struct.pack(form, value)
    raise ValueError(f"{value} does not fit into an AML integer")


def buffer(content: bytes) -> bytes:
    """Return ``Buffer () { content }``."""
    size = integer(len(content))
    return b"\x11" + package_length(len(size) + len(content)) + size + content


def to_uuid(text: str) -> bytes:
    """Return ``ToUUID (text)``."""
    return buffer(uuid.UUID(text).bytes_le)


def resources(*descriptors: bytes) -> bytes:
    """Return ``ResourceTemplate () { descriptors }``; a zero checksum means none."""
    return buffer(b"".join(descriptors) + b"\x79\x00")


def memory32_fixed(base: int, size: int) -> bytes:
    """Return ``Memory32Fixed (ReadWrite, base, size)`` (C ``u32`` each)."""
    return struct.pack("<BHBII", 0x86, 9, 1, base, size)


def qword_memory(base: int, size: int) -> bytes:
    """Return ``QWordMemory`` (C ``u64`` each): consumed, fixed at both ends, not cached."""
    consumer_fixed = 0x0D
    return struct.pack(
        "<BHBBBQQQQQ", 0x8A, 0x2B, 0, consumer_fixed, 1, 0, base, base + size - 1, 0, size
    )


def io(base: int, size: int) -> bytes:
    """Return ``IO (Decode16, base, base, 1, size)``: ports (C ``u16``), up to 255 (C ``u8``)."""
    return struct.pack("<BBHHBB", 0x47, 1, base, base, 1, size)


def dword_io(base: int, size: int) -> bytes:
    """Return ``DWordIO`` (C ``u32`` each): consumed, fixed at both ends, the whole range."""
    consumer_fixed, entire_range = 0x0D, 0x03
    return struct.pack(
        "<BHBBBIIIII",
        *(0x87, 0x17, 1, consumer_fixed, entire_range),
        *(0, base, base + size - 1, 0, size),
    )


def interrupt(gsi: int, *, level: bool) -> bytes:
    """Return ``Interrupt (ResourceConsumer, Edge | Level, ActiveHigh, Exclusive) {gsi}``.

    :param gsi: global system interrupt (C ``u32``).
    :param level: whether it is level-triggered.
    """
    flags = 0x01 if level else 0x03
    return struct.pack("<BHBBI", 0x89, 6, flags, 1, gsi)
