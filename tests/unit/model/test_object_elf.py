# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.model.objfile.elf: the same sections, symbols and relocations that pyelftools reads."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from kvmbpf.errors import BadFileError
from kvmbpf.model.objfile.elf import MAX_RELOCATIONS, ElfImage
from kvmbpf.model.objfile.symbols import Section


def section_of(elf: ElfImage, name: str) -> Section:
    found = elf.section(name)
    assert found is not None
    return found


def test_sections(everything: Path) -> None:
    ours = ElfImage(everything).sections
    with everything.open("rb") as file:
        theirs = list(ELFFile(file).iter_sections())
        assert len(ours) == len(theirs) > 30
        for one, other in zip(ours, theirs, strict=True):
            header = other.header
            assert (one.name, one.type) == (other.name, str(header["sh_type"]))
            assert (one.flags, one.offset, one.size) == (
                header["sh_flags"],
                header["sh_offset"],
                header["sh_size"],
            )
            assert (one.link, one.info, one.entry_size) == (
                header["sh_link"],
                header["sh_info"],
                header["sh_entsize"],
            )


def test_symbols(everything: Path) -> None:
    elf = ElfImage(everything)
    with everything.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        theirs = list(table.iter_symbols())
    ours = elf.symbols()
    assert [item.name for item in ours if item.type != "STT_SECTION"] == [
        item.name for item in theirs if item["st_info"]["type"] != "STT_SECTION"
    ]
    for one, other in zip(ours, theirs, strict=True):
        assert one.type == other["st_info"]["type"]
        assert one.binding == other["st_info"]["bind"]
        assert (one.value, one.size) == (other["st_value"], other["st_size"])
        where = other["st_shndx"]
        assert one.section == (elf.sections[where] if isinstance(where, int) else None)
    weak = {item.name for item in ours if item.weak}
    assert {"kvm_bpf_set_irq", "kvm_bpf_read_guest", "bpf_wq_start"} <= weak
    assert not any(item.section for item in ours if item.weak)


def test_relocations(everything: Path) -> None:
    elf = ElfImage(everything)
    symbols = elf.symbols()
    compared = 0
    with everything.open("rb") as file:
        theirs = ELFFile(file)
        for section in elf.sections:
            table = theirs.get_section_by_name(f".rel{section.name}")
            expected = []
            if table is not None:
                assert isinstance(table, RelocationSection)
                expected = list(table.iter_relocations())
            found = elf.relocations(section)
            assert [item.offset for item in found] == sorted(i["r_offset"] for i in expected)
            assert {(item.offset, item.type, symbols.index(item.symbol)) for item in found} == {
                (item["r_offset"], item["r_info_type"], item["r_info_sym"]) for item in expected
            }
            compared += len(found)
    assert compared > 100


def test_relocated_numbers(everything: Path) -> None:
    """In .BTF they are where variables lie in their sections."""
    elf = ElfImage(everything)
    section = section_of(elf, ".BTF")
    before, after = elf.data(section), elf.relocated(section)
    changed = {
        item.offset: item.symbol.value
        for item in elf.relocations(section)
        if item.symbol.value and item.type in (3, 4)
    }
    assert changed
    for offset, value in changed.items():
        (old,) = struct.unpack_from("<I", before, offset)
        assert struct.unpack_from("<I", after, offset) == (old + value,)
    assert [at for at, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]
    assert len(before) == len(after)


def test_a_section_without_relocations(everything: Path) -> None:
    elf = ElfImage(everything)
    section = section_of(elf, "license")
    assert elf.relocations(section) == []
    assert elf.relocated(section) == elf.data(section) == b"GPL\0"


def with_section(path: Path, name: str, **fields: int) -> ElfImage:
    """Read an object with a section's header changed."""
    places = {
        "type": (4, "<I"),
        "size": (32, "<Q"),
        "link": (40, "<I"),
        "info": (44, "<I"),
        "entry_size": (56, "<Q"),
    }
    data = bytearray(path.read_bytes())
    (table,) = struct.unpack_from("<Q", data, 40)
    start = table + section_of(ElfImage(path), name).number * 64
    for field, value in fields.items():
        offset, form = places[field]
        struct.pack_into(form, data, start + offset, value)
    return ElfImage(Path("changed.o"), bytes(data))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"entry_size": 8}, "in entries of 8, expected entries of 16"),
        ({"size": 15}, "15 bytes in entries of 16"),
        ({"size": 16 * (MAX_RELOCATIONS + 1)}, f"relocations, expected at most {MAX_RELOCATIONS}"),
        ({"type": 4}, "relocations with addends, expected SHT_REL"),
    ],
)
def test_broken_relocations(fields: dict[str, int], reason: str, everything: Path) -> None:
    elf = with_section(everything, ".rel.BTF", **fields)
    with pytest.raises(BadFileError) as caught:
        elf.relocations(section_of(elf, ".BTF"))
    assert reason in str(caught.value)
    assert str(caught.value).startswith("changed.o: section .rel.BTF")


@pytest.mark.parametrize(
    ("offset", "info", "reason"),
    [
        (1 << 40, 0, "relocation 0 for offset 0x10000000000 of"),
        (0, 9999 << 32, "relocation 0 of symbol 9999, expected one of"),
    ],
)
def test_a_relocation_of_nothing(offset: int, info: int, reason: str, everything: Path) -> None:
    elf = ElfImage(everything)
    table = section_of(elf, ".rel.BTF")
    data = bytearray(everything.read_bytes())
    struct.pack_into("<QQ", data, table.offset, offset, info)
    elf = ElfImage(Path("changed.o"), bytes(data))
    with pytest.raises(BadFileError) as caught:
        elf.relocated(section_of(elf, ".BTF"))
    assert reason in str(caught.value)


def test_a_number_past_the_end(everything: Path) -> None:
    elf = ElfImage(everything)
    section, table = section_of(elf, ".BTF"), section_of(elf, ".rel.BTF")
    data = bytearray(everything.read_bytes())
    struct.pack_into("<QQ", data, table.offset, section.size - 2, 4)
    elf = ElfImage(Path("changed.o"), bytes(data))
    with pytest.raises(BadFileError, match="relocation of 4 bytes goes past the section's end"):
        elf.relocated(section)


def test_relocations_are_counted_over_all_sections(everything: Path) -> None:
    """Headers that share one large table do not multiply the work."""
    content = everything.read_bytes()
    content += bytes(-len(content) % 8)
    table = len(content)
    entries = struct.pack("<QQ", 0, 4) * (MAX_RELOCATIONS // 2)
    data = bytearray(content + entries)
    (headers,) = struct.unpack_from("<Q", data, 40)
    elf = ElfImage(everything)
    btf = section_of(elf, ".BTF")
    for name in (".rel.BTF", ".rel.BTF.ext", ".rel.debug_info"):
        start = headers + section_of(elf, name).number * 64
        struct.pack_into("<QQ", data, start + 24, table, len(entries))
        struct.pack_into("<I", data, start + 44, btf.number)
    elf = ElfImage(Path("changed.o"), bytes(data))
    with pytest.raises(BadFileError, match="relocations, expected at most 0"):
        elf.relocations(btf)
