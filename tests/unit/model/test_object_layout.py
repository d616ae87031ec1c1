# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.model.objfile.layout: maps and state, with the places that the compiler gave them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kvmbpf.author.compile import compile_device, find_clang, header_folders
from kvmbpf.model.objfile import DeviceObject, read_object
from kvmbpf.model.objfile.elf import ElfImage
from kvmbpf.model.objfile.layout import (
    MAX_FIELDS,
    MAX_STRUCT_DEPTH,
    FieldInfo,
    StateInfo,
    read_state,
)

HEAD = (
    "#include <kvmbpf.bpf.h>\n"
    'KVMBPF_DEVICE(d, .compatible = "a,b", .regions = { KVMBPF_MMIO(16) });\n'
    "KVMBPF_READ(struct kvmbpf_access *acc) { acc->value = 0; return 0; }\n"
    "KVMBPF_WRITE(struct kvmbpf_access *acc) { return 0; }\n"
)


def build(folder: Path, text: str) -> DeviceObject:
    source = folder / "d.bpf.c"
    source.write_text(HEAD + text)
    return read_object(compile_device(source, folder / "d.o"))


def test_maps(everything: Path) -> None:
    maps = {item.name: item for item in read_object(everything).maps}
    found = {
        name: (item.type, item.key_size, item.value_size, item.entries, item.value_type)
        for name, item in maps.items()
    }
    assert found.pop("kvmbpf_ops")[:2] == ("struct_ops", 4)
    timer, work = found.pop("kvmbpf_timer_tick"), found.pop("kvmbpf_work_fill")
    assert (timer[0], timer[4]) == ("array", "struct kvmbpf_timer_slot")
    assert (work[0], work[4]) == ("array", "struct kvmbpf_work_slot")
    assert found == {
        "table": ("hash", 8, 8, 16, "struct entry"),
        "plain": ("array", 4, 24, 4, ""),
        "kvmbpf_log_ring": ("ringbuf", 0, 0, 65536, ""),
        "kvmbpf_kept_tick": ("array", 4, 8, 1, "struct kvmbpf_kept_slot"),
        "kvmbpf_kept_fill": ("array", 4, 8, 1, "struct kvmbpf_kept_slot"),
    }
    assert maps["kvmbpf_ops"].value_type == "struct kvm_bpf_ops"
    assert maps["kvmbpf_ops"].section == ".struct_ops.link"


def test_state(everything: Path) -> None:
    state = read_object(everything).state
    assert {item.section for item in state} == {".bss", ".data"}
    assert list(state) == sorted(state, key=lambda item: (item.section, item.offset))
    assert {item.name: (item.type, item.size) for item in state} == {
        "state": ("struct state", 80),
        "level": ("__u32", 4),
        "hidden": ("volatile __u64[8]", 64),
        "find.searches": ("__u32", 4),
    }


def flat(fields: tuple[FieldInfo, ...], depth: int = 0) -> list[tuple[int, str, str, int, int]]:
    found = []
    for field in fields:
        found.append((depth, field.name, field.type, field.bit_offset, field.bits))
        found += flat(field.fields, depth + 1)
    return found


def test_fields_of_a_struct(everything: Path) -> None:
    state = {item.name: item for item in read_object(everything).state}
    assert flat(state["state"].fields) == [
        (0, "accesses", "__u64", 0, 0),
        (0, "parts", "part_t[2][3]", 64, 0),
        (1, "low", "__u8", 64, 3),
        (1, "high", "__u8", 67, 5),
        (1, "", "union {...}", 96, 0),
        (2, "number", "int", 96, 0),
        (2, "text", "char[4]", 96, 0),
        (0, "names", "const char *const *", 448, 0),
        (0, "callback", "int (*)(...)", 512, 0),
        (0, "mode", "enum mode", 576, 0),
        (0, "ready", "volatile _Bool", 608, 0),
    ]
    assert state["level"].fields == ()


def test_what_the_header_keeps_is_no_state(everything: Path) -> None:
    elf = ElfImage(everything)
    names = {symbol.name for symbol in elf.symbols()}
    assert "kvmbpf_log_listeners" in names
    assert not [item for item in read_object(everything).state if "kvmbpf" in item.name]


def test_a_device_without_state(tmp_path: Path) -> None:
    device = build(tmp_path, "")
    assert device.state == ()
    assert {item.name for item in device.maps} == {"kvmbpf_ops", "kvmbpf_log_ring"}


def test_without_types_there_are_names_and_sizes(tmp_path: Path) -> None:
    source = tmp_path / "d.bpf.c"
    source.write_text(HEAD + "__u32 before = 3; __u64 after[2] = { 1 };\n")
    output = tmp_path / "d.o"
    subprocess.run(
        [
            *(str(find_clang().path), "-target", "bpf", "-mcpu=v3", "-O2"),
            *(f"-I{folder}" for folder in header_folders()),
            *("-c", str(source), "-o", str(output)),
        ],
        check=True,
        capture_output=True,
    )
    device = read_object(output)
    assert device.btf is None
    assert device.btf_ext is None
    assert device.state == (
        StateInfo("before", ".data", 0, 4),
        StateInfo("after", ".data", 8, 16),
    )
    assert {(item.name, item.type) for item in device.maps} == {
        ("kvmbpf_ops", ""),
        ("kvmbpf_log_ring", ""),
    }


@pytest.mark.parametrize("depth", [MAX_STRUCT_DEPTH - 1, MAX_STRUCT_DEPTH + 4])
def test_structs_in_structs_stop_at_a_depth(depth: int, tmp_path: Path) -> None:
    text = "struct s0 { int x; };\n"
    text += "".join(f"struct s{n} {{ struct s{n - 1} in; }};\n" for n in range(1, depth + 1))
    device = build(tmp_path, text + f"struct s{depth} deep;\n")
    (state,) = device.state
    assert state.type == f"struct s{depth}"
    assert len(flat(state.fields)) == min(depth + 1, MAX_STRUCT_DEPTH)


def test_fields_are_counted(tmp_path: Path) -> None:
    """Structs of structs have more members than anyone wants to read."""
    text = "struct s0 { char " + ", ".join(f"c{n}" for n in range(20)) + "; };\n"
    for level in range(1, 4):
        members = " ".join(f"struct s{level - 1} m{n};" for n in range(20))
        text += f"struct s{level} {{ {members} }};\n"
    device = build(tmp_path, text + "struct s3 wide; struct s0 behind;\n")
    wide, behind = device.state
    assert len(flat(wide.fields)) == MAX_FIELDS
    assert (behind.type, behind.fields) == ("struct s0", ())


def test_types_of_another_object_do_not_matter(everything: Path) -> None:
    """Symbols say what there is: without their types they stay, bare."""
    elf = ElfImage(everything)
    bare = read_state(elf, None)
    typed = read_object(everything).state
    assert [(item.name, item.offset, item.size) for item in bare] == [
        (item.name, item.offset, item.size) for item in typed
    ]
    assert {item.type for item in bare} == {""}
