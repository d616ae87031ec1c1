# SPDX-License-Identifier: GPL-2.0-or-later
"""Damaged objects: whatever is done to a real one, a spec or a BadFileError comes out.

The examples are derived from the test itself, so that every run has the same.
"""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvmbpf.elffile import ElfImage
from kvmbpf.errors import BadFileError
from kvmbpf.notes import NOTE_SECTION
from kvmbpf.objfile import read_device
from kvmbpf.spec import DeviceSpec

FIXED = settings(
    derandomize=True,
    deadline=None,
    max_examples=400,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

INTERESTING = st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF])


def outcome(content: bytes, folder: Path) -> DeviceSpec | BadFileError:
    """Read the content as an object; anything but these two results is raised."""
    path = folder / "mutated.o"
    path.write_bytes(content)
    try:
        return read_device(path)
    except BadFileError as error:
        return error


def check(content: bytes, folder: Path) -> None:
    result = outcome(content, folder)
    assert "\n" not in str(result)
    if isinstance(result, DeviceSpec):
        assert result.name.isidentifier()
        assert 1 <= len(result.regions) <= 8
        assert all(0 < region.size <= 1 << 52 for region in result.regions)
        assert len(result.irqs) <= 32


@FIXED
@given(data=st.data())
def test_bytes_changed_anywhere(data: st.DataObject, demo_v1: Path, tmp_path: Path) -> None:
    content = bytearray(demo_v1.read_bytes())
    places = st.integers(0, len(content) - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=16)):
        content[place] = data.draw(INTERESTING | st.integers(0, 255))
    check(bytes(content), tmp_path)


@FIXED
@given(data=st.data())
def test_headers_changed(data: st.DataObject, demo_v1: Path, tmp_path: Path) -> None:
    content = bytearray(demo_v1.read_bytes())
    (table,) = struct.unpack_from("<Q", content, 40)
    places = st.integers(16, 63) | st.integers(table, len(content) - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=4)):
        content[place] = data.draw(INTERESTING | st.integers(0, 255))
    check(bytes(content), tmp_path)


@FIXED
@given(data=st.data())
def test_note_and_symbols_changed(data: st.DataObject, demo_v1: Path, tmp_path: Path) -> None:
    content = bytearray(demo_v1.read_bytes())
    elf = ElfImage(demo_v1)
    section = elf.section(data.draw(st.sampled_from([NOTE_SECTION, ".symtab", ".strtab"])))
    assert section is not None
    places = st.integers(section.offset, section.offset + section.size - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=8)):
        content[place] = data.draw(INTERESTING | st.integers(0, 255))
    check(bytes(content), tmp_path)


@FIXED
@given(length=st.integers(0, 1 << 16), more=st.binary(max_size=64))
def test_cut_or_lengthened(demo_v1: Path, tmp_path: Path, length: int, more: bytes) -> None:
    check(demo_v1.read_bytes()[:length] + more, tmp_path)


@FIXED
@given(content=st.binary(max_size=512))
def test_noise_after_the_magic(tmp_path: Path, content: bytes) -> None:
    assert isinstance(outcome(b"\x7fELF" + content, tmp_path), BadFileError)


def test_every_byte_of_the_note_is_looked_at(demo_v1: Path, tmp_path: Path) -> None:
    """Turning any byte of the note over changes the result or is refused."""
    original = demo_v1.read_bytes()
    section = ElfImage(demo_v1).section(NOTE_SECTION)
    assert section is not None
    spec = read_device(demo_v1)
    unnoticed = []
    for place in range(section.size):
        content = bytearray(original)
        content[section.offset + place] ^= 0xFF
        if outcome(bytes(content), tmp_path) == spec:
            unnoticed.append(place)
    assert unnoticed == []


@pytest.mark.parametrize("place", range(64))
def test_every_byte_of_the_elf_header(place: int, demo_v1: Path, tmp_path: Path) -> None:
    content = bytearray(demo_v1.read_bytes())
    content[place] ^= 0xFF
    check(bytes(content), tmp_path)
