# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.author.compile, and what the author's header accepts and refuses."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest

from kvmbpf.author.compile import HEADERS, compile_device, compile_library, find_clang
from kvmbpf.bench.minimal_vmm import SOURCE as MINIMAL_VMM
from kvmbpf.bench.paced_guest import SOURCE as PACED_VCPU
from kvmbpf.errors import BadFileError, UnsupportedError
from kvmbpf.model.objfile import read_device, read_object
from kvmbpf.model.objfile.elf import ElfImage
from kvmbpf.model.spec import Bus, Trigger
from tests.header_examples import DESIGN_EXAMPLE

DEVICES = HEADERS.parents[1] / "devices"

BODIES = """
KVMBPF_READ(struct kvmbpf_access *acc) { acc->value = 0; return 0; }
KVMBPF_WRITE(struct kvmbpf_access *acc) { (void)acc; return KVMBPF_DECLINE; }
"""


def build(folder: Path, source: str) -> Path:
    path = folder / "device.bpf.c"
    path.write_text(source)
    return compile_device(path, folder / "device.bpf.o", warnings_are_errors=True)


def build_device(folder: Path, name: str, fields: str) -> Path:
    return build(folder, f"#include <kvmbpf.bpf.h>\nKVMBPF_DEVICE({name}, {fields});\n{BODIES}")


def test_whole_example_compiles_as_it_stands(tmp_path: Path) -> None:
    info = read_object(build(tmp_path, DESIGN_EXAMPLE))
    assert info.spec.name == "counter"
    assert info.spec.compatible == ("kvmbpf,counter",)
    assert info.spec.version == 1
    assert [region.size for region in info.spec.regions] == [0x1000]
    assert [irq.trigger for irq in info.spec.irqs] == [Trigger.EDGE]
    assert [variable.name for variable in info.state] == ["count"]


@pytest.mark.parametrize("source", sorted(DEVICES.glob("*/*.bpf.c")), ids=lambda path: path.name)
def test_shipped_device_compiles_without_warning(source: Path, tmp_path: Path) -> None:
    output = compile_device(source, tmp_path / "out.o", warnings_are_errors=True)
    assert read_device(output).name == source.parent.name


def test_object_has_what_libbpf_needs(demo_v1: Path) -> None:
    elf = ElfImage(demo_v1)
    for name in ("struct_ops/kvmbpf_read", "struct_ops/kvmbpf_write", ".BTF", ".BTF.ext"):
        assert elf.section(name) is not None, name
    link = elf.section(".struct_ops.link")
    license_section = elf.section("license")
    assert link is not None
    assert license_section is not None
    assert elf.data(license_section) == b"GPL\0"
    assert [s.name for s in elf.symbols() if s.section is link] == ["kvmbpf_ops"]


def test_note_stays_out_of_the_type_information(demo_v1: Path) -> None:
    elf = ElfImage(demo_v1)
    btf = elf.section(".BTF")
    assert btf is not None
    assert b"kvmbpf_ops" in elf.data(btf)
    assert b"note" not in elf.data(btf)


def test_bodies_are_inlined_into_the_programs(demo_v1: Path) -> None:
    text = ElfImage(demo_v1).section(".text")
    assert text is None or text.size == 0


def test_same_source_gives_the_same_bytes_anywhere(tmp_path: Path) -> None:
    outputs = []
    for folder in (tmp_path / "a", tmp_path / "some" / "where" / "else"):
        shutil.copytree(DEVICES / "demo", folder)
        outputs.append(compile_device(folder / "demo_v1.bpf.c", folder / "out.o").read_bytes())
    assert outputs[0] == outputs[1]
    assert str(tmp_path).encode() not in outputs[0]
    assert str(HEADERS).encode() not in outputs[0]


def test_all_fields_reach_the_note(tmp_path: Path) -> None:
    regions = ", ".join(f"KVMBPF_MMIO({0x100 << index:#x})" for index in range(8))
    spec = read_device(
        build_device(
            tmp_path,
            "a" * 31,
            f'.compatible = "{"b" * 127}", .version = 7, .irqs = 32, '
            f".level_irqs = 0x80000001, .regions = {{ {regions} }}",
        )
    )
    assert spec.name == "a" * 31
    assert spec.compatible == ("b" * 127,)
    assert spec.version == 7
    assert [region.size for region in spec.regions] == [0x100 << index for index in range(8)]
    assert [irq.index for irq in spec.irqs if irq.trigger is Trigger.LEVEL] == [0, 31]


def test_both_kinds_of_region_reach_the_note(tmp_path: Path) -> None:
    regions = "KVMBPF_PIO(8), KVMBPF_MMIO(0x1000), KVMBPF_PIO(0x10000)"
    spec = read_device(
        build_device(tmp_path, "d", f'.compatible = "a,b", .regions = {{ {regions} }}')
    )
    assert [(region.bus, region.size) for region in spec.regions] == [
        (Bus.PIO, 8),
        (Bus.MMIO, 0x1000),
        (Bus.PIO, 0x10000),
    ]


def test_first_error_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(BadFileError) as caught:
        build(tmp_path, "#include <kvmbpf.bpf.h>\n\nint f(void) { return missing; }\nint g(;\n")
    text = str(caught.value)
    assert text.startswith(f"{tmp_path}/device.bpf.c: device.bpf.c line 3 column 22: ")
    assert "missing" in text
    assert "\n" not in text


def test_failed_compile_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadFileError):
        build(tmp_path, "nonsense\n")
    assert [path.name for path in tmp_path.iterdir()] == ["device.bpf.c"]


def test_failed_compile_keeps_the_previous_output(tmp_path: Path) -> None:
    output = build(tmp_path, DESIGN_EXAMPLE)
    before = output.read_bytes()
    with pytest.raises(BadFileError):
        build(tmp_path, "nonsense\n")
    assert output.read_bytes() == before


def test_missing_source(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match="no such file"):
        compile_device(tmp_path / "absent.bpf.c", tmp_path / "out.o")


def test_directory_as_source(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match="a directory"):
        compile_device(tmp_path, tmp_path / "out.o")


def test_output_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match="cannot be written: No such file"):
        compile_device(DEVICES / "bench" / "bench.bpf.c", tmp_path / "absent" / "out.o")


def test_output_that_is_a_directory(tmp_path: Path) -> None:
    (tmp_path / "out.o").mkdir()
    with pytest.raises(BadFileError, match="cannot be written: Is a directory"):
        compile_device(DEVICES / "bench" / "bench.bpf.c", tmp_path / "out.o")


def test_no_clang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedError, match="clang: found nothing, needed 14 or newer"):
        find_clang()


def version_script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\necho '{text}'\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_older_clang_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version_script(tmp_path / "clang", "clang version 13.0.1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedError, match="clang, version 13, needed 14 or newer"):
        find_clang()


def test_newer_clang_beside_an_older_one_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version_script(tmp_path / "clang", "Debian clang version 13.0.1")
    version_script(tmp_path / "clang-19", "Debian clang version 19.1.7 (3)")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_clang().path == tmp_path / "clang-19"
    assert find_clang().version == 19


@pytest.mark.parametrize("source", [MINIMAL_VMM, PACED_VCPU], ids=lambda path: path.stem)
def test_a_helper_compiles_without_a_warning(tmp_path: Path, source: Path) -> None:
    output = compile_library(source, tmp_path / "vmm.so", warnings_are_errors=True)
    assert output.read_bytes().startswith(b"\x7fELF")


def test_a_helpers_first_error_is_named(tmp_path: Path) -> None:
    source = tmp_path / "helper.c"
    source.write_text("int f(void)\n{\n\treturn missing;\n}\n")
    with pytest.raises(BadFileError, match=r"helper\.c line 3 column 16: .*missing") as caught:
        compile_library(source, tmp_path / "out.so")
    assert "\n" not in str(caught.value)


def test_no_gcc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedError) as caught:
        compile_library(MINIMAL_VMM, tmp_path / "out.so")
    assert str(caught.value) == (
        "gcc: found nothing, needed any; install it (Debian: apt install gcc libc6-dev)"
    )
