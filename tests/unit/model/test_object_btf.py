# SPDX-License-Identifier: GPL-2.0-or-later
"""The readers of .BTF and .BTF.ext: types, source lines and CO-RE relocations.

Objects are compared with what bpftool reads in them.
"""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path

import pytest

from kvmbpf.author.compile import compile_device, find_clang
from kvmbpf.errors import BadFileError
from kvmbpf.model.objfile.btf import MAX_DEPTH, Btf, Kind
from kvmbpf.model.objfile.btfext import BtfExt
from kvmbpf.model.objfile.elf import ElfImage
from tests.places import ROOT

FILE = Path("types.o")


def types_of(path: Path) -> Btf:
    found = Btf.of(ElfImage(path))
    assert found is not None
    return found


# ---- real objects ----------------------------------------------------------


def test_types_as_bpftool_reads_them(everything: Path) -> None:
    done = subprocess.run(
        ["bpftool", "--json", "btf", "dump", "file", str(everything)],
        capture_output=True,
        text=True,
        check=True,
    )
    btf = types_of(everything)
    expected = json.loads(done.stdout)["types"]
    assert len(btf) == len(expected) + 1 > 50
    for item in expected:
        found = btf.get(item["id"])
        assert found.kind.name == item["kind"]
        assert found.name == ("" if item["name"] == "(anon)" else item["name"])
        if found.kind is Kind.ARRAY:
            assert (found.target, btf.elements(found)) == (item["type_id"], item["nr_elems"])
        elif "type_id" in item:
            assert found.target == item["type_id"]
        if "size" in item and found.kind is not Kind.DATASEC:
            assert found.size == item["size"]
        if found.kind in (Kind.STRUCT, Kind.UNION):
            assert [
                (member.name or "(anon)", member.type_id, member.bit_offset, member.bits)
                for member in btf.members(found)
            ] == [
                (
                    member["name"],
                    member["type_id"],
                    member["bits_offset"],
                    member.get("bitfield_size", 0),
                )
                for member in item["members"]
            ]


def test_variables_are_where_their_symbols_are(everything: Path) -> None:
    elf, btf = ElfImage(everything), types_of(everything)
    places = {
        (symbol.section.name, symbol.name): (symbol.value, symbol.size)
        for symbol in elf.symbols()
        if symbol.section is not None and symbol.type == "STT_OBJECT"
    }
    compared = 0
    for datasec in btf.types(Kind.DATASEC):
        for variable in btf.variables(datasec):
            if (datasec.name, variable.name) in places:
                expected = places[datasec.name, variable.name]
                assert (variable.offset, variable.size) == expected
                assert btf.size_of(variable.type_id) == variable.size
                compared += 1
    assert compared > 10


DECLARATIONS = [
    "int plain",
    "unsigned long long wide",
    "const char *text",
    "const char *const fixed",
    "volatile int shared",
    "int row[3]",
    "int table[3][4]",
    "char *names[5]",
    "int (*rows)[3]",
    "struct known *pointer",
    "struct unknown *opaque",
    "union choice chosen",
    "enum colour colour",
    "number_t number",
    "int (*callback)(...)",
    "void *anything",
    "_Bool yes",
]


def test_declarations_as_in_the_source(tmp_path: Path) -> None:
    """A type is written as C has it, less the variable's name."""
    source = tmp_path / "types.c"
    source.write_text(
        "struct known { int x; };\nunion choice { int x; };\nenum colour { RED };\n"
        "typedef unsigned number_t;\n"
        + "".join(f"{line.replace('(...)', '(int, char)')};\n" for line in DECLARATIONS)
    )
    btf = types_of(compile_device(source, tmp_path / "types.o"))
    found = {item.name: btf.declaration(item.target) for item in btf.types(Kind.VAR)}
    names = [line.split("[")[0].split(")")[0].split()[-1].lstrip("*(") for line in DECLARATIONS]
    expected = {}
    for name, line in zip(names, DECLARATIONS, strict=True):
        head, _, tail = line.partition(name) if line.count(name) == 1 else line.rpartition(name)
        joined = head + tail
        expected[name] = joined.replace(" [", "[").strip()
    assert found == expected


def test_what_only_newer_compilers_write(tmp_path: Path) -> None:
    """An enum of 64 bits, a float, tags; as clang 16 writes them, or by hand."""
    builder = Builder()
    number = builder.integer("int", 4)
    real = builder.add("double", Kind.FLOAT, 0, 8)
    wide = builder.add("wide", Kind.ENUM64, 1, 8, struct.pack("<III", 0, 1, 2))
    tag = builder.add("user", Kind.TYPE_TAG, 0, number)
    pointer = builder.add("", Kind.PTR, 0, tag)
    builder.add("mark", Kind.DECL_TAG, 0, number, struct.pack("<i", -1))
    last = builder.add("", Kind.PTR, 0, real)
    btf = builder.read()
    assert [btf.declaration(one) for one in (real, wide, pointer, last)] == [
        "double",
        "enum wide",
        "int *",
        "double *",
    ]
    assert [btf.size_of(one) for one in (real, wide, pointer)] == [8, 8, 8]


def test_source_lines(everything: Path) -> None:
    elf, btf = ElfImage(everything), types_of(everything)
    ext = BtfExt.of(elf, btf)
    assert ext is not None
    source = (ROOT / "tests/unit/progs/everything.bpf.c").read_text().splitlines()
    seen = set()
    section = elf.section("struct_ops/kvmbpf_read")
    assert section is not None
    for offset in range(0, section.size, 8):
        line = ext.line_of(section.name, offset)
        assert line is not None
        if line.file == "everything.bpf.c":
            assert source[line.line - 1].strip().expandtabs(1) == line.text
            seen.add(line.text)
    assert "if (acc->region == 2)" in seen
    assert ext.line_of("absent", 0) is None


def test_core_relocations(everything: Path) -> None:
    elf, btf = ElfImage(everything), types_of(everything)
    ext = BtfExt.of(elf, btf)
    assert ext is not None
    accesses = {
        (item.section, f"{item.type_name}.{item.path}")
        for item in ext.core_accesses
        if not item.asks_only
    }
    assert ("struct_ops/kvmbpf_read", "kvm_bpf_access.region") in accesses
    assert ("struct_ops.s/kvmbpf_write", "kvm_bpf_access.value") in accesses
    assert not [item for item in ext.core_accesses if item.section == "syscall"]


CORE = """
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
struct inner { int a[4]; union { int x; int y; }; } __attribute__((preserve_access_index));
struct outer___v2 { int first; struct inner inner[2]; } __attribute__((preserve_access_index));
enum kind { KIND_A, KIND_B };
SEC("syscall") int prog(struct outer___v2 *from)
{
	if (bpf_core_field_exists(from->first))
		return bpf_core_enum_value(enum kind, KIND_B);
	return from->inner[1].a[2] + from->inner[1].y + bpf_core_type_exists(struct inner);
}
"""


def test_core_paths_and_questions(tmp_path: Path) -> None:
    source = tmp_path / "core.c"
    source.write_text(CORE)
    elf = ElfImage(compile_device(source, tmp_path / "core.o"))
    btf = Btf.of(elf)
    assert btf is not None
    ext = BtfExt.of(elf, btf)
    assert ext is not None
    found = {(item.type_name, item.path, item.asks_only) for item in ext.core_accesses}
    assert found == {
        ("outer", "first", True),
        ("kind", "", False),
        ("outer", "inner.a", False),
        ("outer", "inner.y", False),
        ("inner", "", True),
    }


def test_an_object_without_types(tmp_path: Path) -> None:
    source = tmp_path / "bare.c"
    source.write_text("int x;\n")
    output = tmp_path / "bare.o"
    subprocess.run(
        [str(find_clang().path), "-target", "bpf", "-O2", "-c", str(source), "-o", str(output)],
        check=True,
    )
    assert Btf.of(ElfImage(output)) is None


# ---- types made by hand ----------------------------------------------------


class Builder:
    """Writes a section .BTF, sound or not."""

    def __init__(self) -> None:
        self.types = b""
        self.strings = b"\0"
        self.count = 0

    def string(self, text: str) -> int:
        if not text:
            return 0
        self.strings += text.encode() + b"\0"
        return len(self.strings) - len(text.encode()) - 1

    def add(self, name: str, kind: int, count: int, last: int, tail: bytes = b"") -> int:
        info = kind << 24 | count
        self.types += struct.pack("<3I", self.string(name), info, last) + tail
        self.count += 1
        return self.count

    def integer(self, name: str, size: int) -> int:
        return self.add(name, Kind.INT, 0, size, struct.pack("<I", size * 8))

    def array(self, element: int, count: int) -> int:
        return self.add("", Kind.ARRAY, 0, 0, struct.pack("<3I", element, element, count))

    def data(self) -> bytes:
        lengths = (0, len(self.types), len(self.types), len(self.strings))
        return struct.pack("<HBBI4I", 0xEB9F, 1, 0, 24, *lengths) + self.types + self.strings

    def read(self) -> Btf:
        return Btf(FILE, self.data(), little_endian=True)


def refused(data: bytes) -> BadFileError:
    with pytest.raises(BadFileError) as caught:
        Btf(FILE, data, little_endian=True)
    assert str(caught.value).startswith("types.o: section .BTF")
    return caught.value


@pytest.mark.parametrize(
    ("form", "offset", "value", "reason"),
    [
        ("<H", 0, 0x9FEB, "magic 0x9feb, expected 0xeb9f"),
        ("<B", 2, 2, "BTF version 2, expected 1"),
        ("<I", 4, 0, "header of 0 bytes, expected 24 or more"),
        ("<I", 4, 0xFFFFFFFF, "go past the section's end"),
        ("<I", 8, 0xFFFFFFFF, "types: 16 bytes at 0x100000017 go past the section's end"),
        ("<I", 12, 0xFFFFFFFF, "types: 4294967295 bytes at 0x18 go past"),
        ("<I", 12, 15, "type 1 goes past the types' end, 0x27"),
        ("<I", 12, 17, "1 bytes after the last whole type"),
        ("<I", 16, 0xFFFFFFFF, "strings: 5 bytes at 0x100000017 go past"),
        ("<I", 20, 0xFFFFFFFF, "strings: 4294967295 bytes at"),
        ("<I", 28, 0, "type 1 is of kind 0, which kvmbpf does not know"),
        ("<I", 28, 20 << 24, "type 1 is of kind 20, which kvmbpf does not know"),
        ("<I", 28, Kind.STRUCT << 24 | 0xFFFF, "type 1 goes past the types' end"),
    ],
)
def test_broken_types(form: str, offset: int, value: int, reason: str) -> None:
    builder = Builder()
    builder.integer("int", 4)
    data = bytearray(builder.data())
    struct.pack_into(form, data, offset, value)
    assert reason in refused(bytes(data)).reason


@pytest.mark.parametrize("size", [0, 1, 23])
def test_truncated_header(size: int) -> None:
    error = refused(Builder().data()[:size])
    assert error.reason == "ends here, expected a header of 24"
    assert error.offset == size


@pytest.mark.parametrize("name", [5, 0xFFFFFFFF])
def test_a_name_that_is_no_string(name: int) -> None:
    builder = Builder()
    builder.integer("int", 4)
    data = bytearray(builder.data())
    struct.pack_into("<I", data, 24, name)
    btf = Btf(FILE, bytes(data), little_endian=True)
    with pytest.raises(BadFileError, match=f"string {name:#x} is not within 0x5 bytes"):
        btf.get(1)


def test_a_string_without_an_end() -> None:
    builder = Builder()
    builder.integer("int", 4)
    builder.strings = builder.strings[:-1]
    with pytest.raises(BadFileError, match="string 0x1 is not within"):
        builder.read().get(1)


def test_names_are_shown_on_one_line() -> None:
    builder = Builder()
    assert builder.read().string(0) == ""
    one = builder.add("a\nb\tc\x1b[31m", Kind.STRUCT, 0, 0)
    assert builder.read().get(one).name == "a\\nb c\\x1b[31m"


@pytest.mark.parametrize("type_id", [-1, 2, 0xFFFFFFFF])
def test_a_type_that_is_not_there(type_id: int) -> None:
    builder = Builder()
    builder.integer("int", 4)
    btf = builder.read()
    with pytest.raises(BadFileError, match=f"type {type_id}, expected one of 2"):
        btf.get(type_id)


def test_references_to_types_that_are_not_there() -> None:
    builder = Builder()
    pointer = builder.add("", Kind.PTR, 0, 99)
    array = builder.array(98, 3)
    name = builder.add("t", Kind.TYPEDEF, 0, 97)
    btf = builder.read()
    for type_id, absent in ((pointer, 99), (array, 98)):
        with pytest.raises(BadFileError, match=f"type {absent}, expected one of 4"):
            btf.declaration(type_id)
    assert btf.declaration(name) == "t"
    with pytest.raises(BadFileError, match="type 97, expected one of 4"):
        btf.size_of(name)


@pytest.mark.parametrize("kind", [Kind.TYPEDEF, Kind.CONST, Kind.TYPE_TAG])
def test_a_circle_of_names(kind: Kind) -> None:
    builder = Builder()
    builder.add("loop", kind, 0, 1)
    btf = builder.read()
    for ask in (btf.resolve, btf.size_of):
        with pytest.raises(BadFileError, match=f"more than {MAX_DEPTH} names for one type"):
            ask(1)
    assert len(btf.declaration(1)) < 1000


@pytest.mark.parametrize("kind", [Kind.PTR, Kind.ARRAY])
def test_a_circle_of_types(kind: Kind) -> None:
    builder = Builder()
    tail = struct.pack("<3I", 1, 1, 0xFFFFFFFF) if kind is Kind.ARRAY else b""
    builder.add("", kind, 0, 1, tail)
    btf = builder.read()
    assert btf.declaration(1).startswith("...")
    if kind is Kind.ARRAY:
        with pytest.raises(BadFileError, match="has no size"):
            btf.size_of(1)
    else:
        assert btf.size_of(1) == 8


@pytest.mark.parametrize("kind", [Kind.FWD, Kind.FUNC_PROTO])
def test_types_without_a_size(kind: Kind) -> None:
    builder = Builder()
    builder.add("" if kind is Kind.FUNC_PROTO else "s", kind, 0, 0)
    with pytest.raises(BadFileError, match=f"type 1 \\({kind.name}\\) has no size"):
        builder.read().size_of(1)


# ---- .BTF.ext made by hand --------------------------------------------------


def ext(lines: bytes = b"", core: bytes = b"", builder: Builder | None = None) -> BtfExt:
    lengths = (0, 0, 0, len(lines), len(lines), len(core))
    data = struct.pack("<HBBI6I", 0xEB9F, 1, 0, 32, *lengths) + lines + core
    btf = (builder or Builder()).read()
    return BtfExt(FILE, data, btf, little_endian=True)


def table(section: int, *records: tuple[int, int, int, int], size: int = 16) -> bytes:
    body = b"".join(struct.pack("<4I", *record) + bytes(size - 16) for record in records)
    return struct.pack("<3I", size, section, len(records)) + body


def test_lines_by_hand() -> None:
    builder = Builder()
    section, file, text = builder.string("code"), builder.string("./a.c"), builder.string("\tx;")
    records = [(16, file, text, 3 << 10 | 2), (0, file, text, 1 << 10), (8, file, text, 0)]
    found = ext(table(section, *records, size=24), builder=builder)
    lines = [found.line_of("code", offset) for offset in (0, 8, 16, 800)]
    assert [line and (line.file, line.line, line.column, line.text) for line in lines] == [
        ("a.c", 1, 0, "x;"),
        ("a.c", 1, 0, "x;"),
        ("a.c", 3, 2, "x;"),
        ("a.c", 3, 2, "x;"),
    ]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (struct.pack("<I", 12), "records of 12 bytes, expected 16 or more"),
        (struct.pack("<I", 18), "records of 18 bytes, expected 16 or more"),
        (b"\0\0", "the table ends within a number"),
        (struct.pack("<2I", 16, 0), "the table ends within a number"),
        (struct.pack("<3I", 16, 0, 1), "1 records of 16 bytes go past the table's end"),
        (struct.pack("<3I", 16, 0, 0xFFFFFFFF), "records"),
        (struct.pack("<3I", 0xFFFFFFFC, 0, 1), "1 records of 4294967292 bytes go past"),
        (struct.pack("<3I", 16, 99, 0), "string 0x63 is not within"),
    ],
)
def test_broken_tables(lines: bytes, reason: str) -> None:
    with pytest.raises(BadFileError) as caught:
        ext(lines).line_of("", 0)
    assert reason in str(caught.value)
    with pytest.raises(BadFileError):
        _ = ext(core=lines).core_accesses


@pytest.mark.parametrize(
    ("form", "offset", "value", "reason"),
    [
        ("<H", 0, 0, "magic 0x0000, expected 0xeb9f"),
        ("<B", 2, 9, "BTF version 9, expected 1"),
        ("<I", 4, 20, "header of 20 bytes, expected 24 to 32"),
        ("<I", 4, 33, "header of 33 bytes, expected 24 to 32"),
        ("<I", 16, 1, "line info: 0 bytes at 0x21 go past the section's end"),
        ("<I", 28, 1, "CO-RE relocations: 1 bytes at 0x20 go past the section's end"),
    ],
)
def test_broken_ext_header(form: str, offset: int, value: int, reason: str) -> None:
    data = bytearray(struct.pack("<HBBI6I", 0xEB9F, 1, 0, 32, *[0] * 6))
    struct.pack_into(form, data, offset, value)
    with pytest.raises(BadFileError) as caught:
        BtfExt(FILE, bytes(data), Builder().read(), little_endian=True)
    assert reason in str(caught.value)


def test_a_header_without_core_relocations() -> None:
    data = struct.pack("<HBBI4I", 0xEB9F, 1, 0, 24, *[0] * 4)
    found = BtfExt(FILE, data, Builder().read(), little_endian=True)
    assert found.core_accesses == ()
    with pytest.raises(BadFileError, match="ends here, expected a header of 24"):
        BtfExt(FILE, data[:20], Builder().read(), little_endian=True)


@pytest.mark.parametrize("access", ["0:1", "0:x", "0:-1", "0:0:0", "0:\u00b2", "0:99999999999"])
def test_a_member_that_is_not_there(access: str) -> None:
    builder = Builder()
    number = builder.integer("int", 4)
    struct_id = builder.add(
        "s", Kind.STRUCT, 1, 4, struct.pack("<3I", builder.string("x"), number, 0)
    )
    record = (0, struct_id, builder.string(access), 0)
    with pytest.raises(BadFileError, match="no member"):
        _ = ext(core=table(0, record), builder=builder).core_accesses
