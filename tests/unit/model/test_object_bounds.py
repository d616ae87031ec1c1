# SPDX-License-Identifier: GPL-2.0-or-later
"""Objects that were made to cost much: each is read or refused in few steps.

The process that reads them has little memory and counts calls. Without the
bounds of the readers each of these takes minutes, or more memory than there is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kvmbpf.model.objfile.btf import Kind
from kvmbpf.model.objfile.btfext import MAX_CORE, MAX_LINES
from kvmbpf.model.objfile.elf import MAX_FILE_BYTES, MAX_RELOCATIONS, MAX_SYMBOLS, ElfImage
from kvmbpf.model.objfile.needs import MAX_REFERENCES
from kvmbpf.model.spec import PropertySpec
from tests.unit.model.mutation_process import WorkerProcess
from tests.unit.model.mutation_worker import MAX_STEPS
from tests.unit.model.note_encoder import DEMO, encode_note, encode_notes
from tests.unit.model.test_object_btf import Builder

TOO_MANY = f"more than {MAX_REFERENCES} references"


@pytest.fixture(scope="module")
def worker(everything: Path) -> Iterator[WorkerProcess]:
    process = WorkerProcess([everything])
    yield process
    process.close()


class Costly:
    """An object whose sections get other contents, at its end."""

    def __init__(self, original: Path) -> None:
        self.elf = ElfImage(original)
        self.data = bytearray(original.read_bytes())
        self._headers: int = struct.unpack_from("<Q", self.data, 40)[0]

    def header(self, name: str) -> int:
        section = self.elf.section(name)
        assert section is not None
        return self._headers + section.number * 64

    def content(self, name: str) -> bytes:
        section = self.elf.section(name)
        assert section is not None
        return self.elf.data(section)

    def give(self, name: str, content: bytes) -> None:
        self.data += bytes(-len(self.data) % 8)
        struct.pack_into("<QQ", self.data, self.header(name) + 24, len(self.data), len(content))
        self.data += content

    def drop(self, name: str) -> None:
        struct.pack_into("<I", self.data, self.header(name) + 4, 0)

    def symbol(self, name: str) -> int:
        return [item.name for item in self.elf.symbols()].index(name)

    def read(self, worker: WorkerProcess, folder: Path) -> list[str]:
        """Have it read; return why it was refused, if it was."""
        assert len(self.data) <= MAX_FILE_BYTES
        path = folder / "costly.o"
        path.write_bytes(self.data)
        found = worker.ask({"path": str(path)})
        assert "wrong" not in found, found["wrong"]
        print(f"{found['steps']} steps")
        assert found["steps"] <= MAX_STEPS
        refused: list[str] = found["refused"]
        return refused


@pytest.fixture
def costly(everything: Path) -> Costly:
    return Costly(everything)


def test_the_object_as_it_is(costly: Costly, worker: WorkerProcess, tmp_path: Path) -> None:
    assert costly.read(worker, tmp_path) == []


def test_functions_that_overlap(costly: Costly, worker: WorkerProcess, tmp_path: Path) -> None:
    """Each of 16,000 is all of a section of two megabytes."""
    code = struct.pack("<BBhi", 0xB7, 0, 0, 0) * (1 << 18)
    table = bytearray(costly.content(".symtab"))
    find = costly.symbol("find")
    struct.pack_into("<QQ", table, find * 24 + 8, 0, len(code))
    entry = table[find * 24 : find * 24 + 24]
    costly.drop(".rel.text")
    for count in range(1, MAX_SYMBOLS - len(table) // 24 + 1):
        other = bytearray(entry)
        struct.pack_into("<QQ", other, 8, count * 8, len(code) - count * 8)
        table += other
    costly.give(".text", code)
    costly.give(".symtab", bytes(table))
    refused = costly.read(worker, tmp_path)
    assert len(refused) == 2, "what an attach reads has no code in it"
    assert {"functions overlap: too much to decode"} == set(refused)


@pytest.mark.parametrize(
    ("count", "reason"),
    [(1 << 16, TOO_MANY), (32_000, "too many calls to follow")],
)
def test_functions_that_all_call_each_other(
    count: int, reason: str, costly: Costly, worker: WorkerProcess, tmp_path: Path
) -> None:
    """Every question that is asked goes through all of it again."""
    table = bytearray(costly.content(".symtab"))
    find = costly.symbol("find")
    struct.pack_into("<QQ", table, find * 24 + 8, 0, 8)
    entry = bytes(table[find * 24 : find * 24 + 24])
    step = count // 8000
    for index in range(8000):
        other = bytearray(entry)
        struct.pack_into("<QQ", other, 8, index * step * 8, step * 8)
        table += other
    # Each call goes to the start of the function behind its own.
    code = b"".join(
        struct.pack("<BBhi", 0x85, 0x10, 0, (at // step + 1) % 8000 * step - at - 1)
        for at in range(8000 * step)
    )
    costly.give(".text", code)
    costly.drop(".rel.text")
    costly.give(".symtab", bytes(table))
    refused = costly.read(worker, tmp_path)
    assert reason in refused
    assert set(refused) <= {reason, TOO_MANY}


def state_of_type(costly: Costly, builder: Builder, type_id: int) -> None:
    """Give the state's variables a type, and no other types to the object."""
    names = ("state", "hidden", "find.searches")
    variables = [builder.add(name, Kind.VAR, 0, type_id, struct.pack("<I", 1)) for name in names]
    tail = b"".join(struct.pack("<3I", variable, 0, 80) for variable in variables)
    builder.add(".bss", Kind.DATASEC, len(names), 0, tail)
    costly.give(".BTF", builder.data())
    costly.drop(".rel.BTF")
    costly.drop(".rel.BTF.ext")
    costly.give(".BTF.ext", struct.pack("<HBBI6I", 0xEB9F, 1, 0, 32, *[0] * 6))


def test_structs_in_structs(costly: Costly, worker: WorkerProcess, tmp_path: Path) -> None:
    """A thousand members a struct, a hundred structs deep."""
    builder = Builder()
    inner = builder.integer("int", 4)
    for depth in range(100):
        tail = struct.pack("<3I", 0, inner, 0) * 1000
        inner = builder.add(f"s{depth}", Kind.STRUCT, 1000, 4, tail)
    state_of_type(costly, builder, inner)
    assert costly.read(worker, tmp_path) == []


def test_functions_that_share_one_prototype(
    costly: Costly, worker: WorkerProcess, tmp_path: Path
) -> None:
    """Sixty thousand functions, each of the same sixty thousand arguments."""
    builder = Builder()
    number = builder.integer("int", 4)
    arguments = struct.pack("<2I", builder.string("a"), number) * 0xFFFF
    prototype = builder.add("", Kind.FUNC_PROTO, 0xFFFF, number, arguments)
    head = struct.pack("<3I", builder.string("f"), Kind.FUNC << 24, prototype)
    builder.types += head * 60_000
    builder.count += 60_000
    state_of_type(costly, builder, number)
    assert costly.read(worker, tmp_path) == []


def test_addresses_without_number(costly: Costly, worker: WorkerProcess, tmp_path: Path) -> None:
    """Sixteen thousand variables at one place, and thirty thousand addresses behind it."""
    table = bytearray(costly.content(".symtab"))
    state = costly.symbol("state")
    entry = bytes(table[state * 24 : state * 24 + 24])
    costly.give(".symtab", bytes(table) + entry * (MAX_SYMBOLS - len(table) // 24))
    assert costly.read(worker, tmp_path) == []


def test_a_struct_of_itself(costly: Costly, worker: WorkerProcess, tmp_path: Path) -> None:
    builder = Builder()
    one = builder.add("s", Kind.STRUCT, 0xFFFF, 4, struct.pack("<3I", 0, 1, 0) * 0xFFFF)
    state_of_type(costly, builder, one)
    assert costly.read(worker, tmp_path) == []


def test_names_for_names(costly: Costly, worker: WorkerProcess, tmp_path: Path) -> None:
    """Each of sixty thousand is a name for the one before it."""
    builder = Builder()
    last = builder.integer("int", 4)
    for index in range(60_000):
        last = builder.add("", Kind.CONST if index % 2 else Kind.VOLATILE, 0, last)
    state_of_type(costly, builder, last)
    assert set(costly.read(worker, tmp_path)) <= {
        f"type {type_id}: more than 32 names for one type" for type_id in range(60_002)
    }


def test_arrays_of_arrays(costly: Costly, worker: WorkerProcess, tmp_path: Path) -> None:
    builder = Builder()
    last = builder.integer("int", 4)
    for _ in range(1000):
        last = builder.array(last, 0xFFFFFFFF)
    state_of_type(costly, builder, last)
    assert costly.read(worker, tmp_path) == []


def test_long_names_everywhere(costly: Costly, worker: WorkerProcess, tmp_path: Path) -> None:
    """A string of a megabyte, which each of many types has for its name."""
    builder = Builder()
    name = builder.string("n" * (1 << 20))
    for _ in range(2000):
        builder.types += struct.pack("<3I", name, Kind.STRUCT << 24, 0)
        builder.count += 1
    state_of_type(costly, builder, 1)
    assert costly.read(worker, tmp_path) == []


@pytest.mark.parametrize("core", [True, False])
def test_records_without_number(
    core: bool, costly: Costly, worker: WorkerProcess, tmp_path: Path
) -> None:
    """As many lines, or CO-RE relocations through deep structs, as are read."""
    builder = Builder()
    section = builder.string("struct_ops/kvmbpf_read")
    path = builder.string(":".join(["0"] * 500))
    inner = builder.integer("int", 4)
    for _ in range(200):
        inner = builder.add("s", Kind.STRUCT, 1, 4, struct.pack("<3I", 0, inner, 0))
    count = MAX_CORE if core else MAX_LINES
    record = struct.pack("<4I", 8, inner, path, 0) if core else struct.pack("<4I", 8, 1, 1, 1024)
    table = struct.pack("<3I", 16, section, count) + record * count
    state_of_type(costly, builder, inner)
    lengths = (0, 0, 0, 0, 0, len(table)) if core else (0, 0, 0, len(table), len(table), 0)
    costly.give(".BTF.ext", struct.pack("<HBBI6I", 0xEB9F, 1, 0, 32, *lengths) + table)
    assert costly.read(worker, tmp_path) == []


def test_relocations_without_number(costly: Costly, worker: WorkerProcess, tmp_path: Path) -> None:
    table = costly.content(".relsyscall")
    costly.give(".relsyscall", table + table[:16] * (MAX_RELOCATIONS - 2000))
    assert costly.read(worker, tmp_path) == []


def test_symbols_without_number(costly: Costly, worker: WorkerProcess, tmp_path: Path) -> None:
    table = costly.content(".symtab")
    state = costly.symbol("state")
    entry = table[state * 24 : state * 24 + 24]
    costly.give(".symtab", table + entry * (MAX_SYMBOLS - len(table) // 24))
    assert costly.read(worker, tmp_path) == []


def test_notes_without_number(costly: Costly, worker: WorkerProcess, tmp_path: Path) -> None:
    notes = costly.content(".note.kvmbpf")
    costly.give(".note.kvmbpf", notes + encode_note(0x80000000, b"") * (200_000))
    assert costly.read(worker, tmp_path) == ["more than 1024 notes"] * 3


@pytest.mark.parametrize("value", ['"' + "\\" * 1020 + '"', "<" + "1 " * 500 + ">", "[" * 1023])
def test_properties_as_long_as_they_may_be(
    value: str, costly: Costly, worker: WorkerProcess, tmp_path: Path
) -> None:
    items = tuple(PropertySpec(f"p{index}", value) for index in range(64))
    costly.give(".note.kvmbpf", encode_notes(replace(DEMO, properties=items)))
    refused = costly.read(worker, tmp_path)
    assert len(refused) in (0, 3)
