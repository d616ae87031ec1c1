# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.model.check and ``kvmbpf check``: each rule finds what it is for, and nothing else."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from kvmbpf.author.compile import (
    SHIPPED,
    compile_device,
    compile_shipped,
    find_clang,
    header_folders,
)
from kvmbpf.model.check import SCHEMA, Finding, Rule, Severity, check_file
from kvmbpf.model.check.loading import MANY_INSTRUCTIONS
from kvmbpf.model.objfile.elf import ElfImage
from tests.places import ROOT
from tests.unit.model.test_object_reader import EVERYTHING, compiled

FIELDS = '.compatible = "acme,d", .regions = { KVMBPF_MMIO(16) }'
READ = "KVMBPF_READ(struct kvmbpf_access *acc) { acc->value = acc->offset; return 0; }\n"
WRITE = "KVMBPF_WRITE(struct kvmbpf_access *acc) { return acc->offset ? 0 : 1; }\n"


def build(
    folder: Path, *, fields: str = FIELDS, before: str = "", read: str = READ, write: str = WRITE
) -> Path:
    """Compile a device; what is before the bodies starts at line 3."""
    source = folder / "d.bpf.c"
    source.write_text(
        f"#include <kvmbpf.bpf.h>\nKVMBPF_DEVICE(d, {fields});\n{before}{read}{write}"
    )
    return compile_device(source, folder / "d.bpf.o")


def rules(path: Path) -> list[tuple[str, str]]:
    return [(finding.severity.value, finding.rule.value) for finding in check_file(path)]


def only(path: Path) -> Finding:
    """Return the one thing that is found."""
    findings = check_file(path)
    assert len(findings) == 1, findings
    assert "\n" not in findings[0].sentence + findings[0].mend
    return findings[0]


def swapped(original: Path, path: Path, section: str, before: bytes, after: bytes) -> Path:
    """Copy an object with the only `before` in a section changed."""
    found = ElfImage(original).section(section)
    assert found is not None
    data = original.read_bytes()
    inside = data[found.offset : found.offset + found.size]
    assert inside.count(before) == 1
    assert len(before) == len(after)
    path.write_bytes(
        data[: found.offset] + inside.replace(before, after) + data[found.offset + found.size :]
    )
    return path


# ---- what is well ----------------------------------------------------------


def test_nothing_is_found_in_what_is_shipped(everything: Path, tmp_path: Path) -> None:
    assert check_file(everything) == []
    sources = sorted(SHIPPED.glob("*/*.bpf.c"))
    assert len(sources) >= 4
    for source in sources:
        name = str(source.relative_to(SHIPPED)).removesuffix(".bpf.c")
        assert check_file(compile_shipped(name, tmp_path)) == [], name


def test_nothing_is_found_in_the_least_device(tmp_path: Path) -> None:
    assert check_file(build(tmp_path)) == []


# ---- what does not load ----------------------------------------------------


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    finding = only(tmp_path / "absent.o")
    assert (finding.severity, finding.rule, finding.where) == (Severity.ERROR, "file", "the file")
    assert finding.sentence == "no such file"
    finding = only(Path(__file__))
    assert (finding.rule, finding.where) == ("file", "offset 0x0")


def test_broken_notes(demo_v1: Path, tmp_path: Path) -> None:
    path = swapped(
        demo_v1, tmp_path / "b.o", ".note.kvmbpf", struct.pack("<3I", 2, 1, 0), b"\3" + bytes(11)
    )
    finding = only(path)
    assert finding.where == "section .note.kvmbpf offset 0x14"
    assert finding.sentence.startswith("note format 3, this kvmbpf reads format 2")


def test_broken_types_do_not_hide_what_was_found_before(demo_v1: Path, tmp_path: Path) -> None:
    path = swapped(demo_v1, tmp_path / "b.o", "license", b"GPL\0", b"BSD\0")
    path = swapped(path, path, ".BTF", b"\x9f\xeb", b"\x9f\xec")
    assert rules(path) == [("error", "licence"), ("error", "file")]


@pytest.mark.skipif(sys.byteorder == "big", reason="the other way round there")
def test_byte_order(tmp_path: Path) -> None:
    finding = only(compiled(EVERYTHING, tmp_path / "big.o", "bpfeb"))
    assert (finding.severity, finding.rule) == (Severity.ERROR, "byte-order")
    assert finding.sentence == "a big-endian object, and this host is little-endian"


@pytest.mark.parametrize("licence", [b"BSD\0", b"\0\0\0\0", b"G\xff\n\0"])
def test_licence(licence: bytes, demo_v1: Path, tmp_path: Path) -> None:
    path = swapped(demo_v1, tmp_path / "b.o", "license", b"GPL\0", licence)
    finding = only(path)
    assert (finding.severity, finding.rule) == (Severity.ERROR, "licence")
    expected = "no licence" if licence == bytes(4) else 'licence "'
    assert finding.sentence.startswith(expected)


def test_no_licence_section(demo_v1: Path, tmp_path: Path) -> None:
    path = swapped(demo_v1, tmp_path / "b.o", ".strtab", b"license\0", b"licensf\0")
    assert only(path).sentence.startswith("no licence")


def test_no_types(tmp_path: Path) -> None:
    source = tmp_path / "d.bpf.c"
    source.write_text(f"#include <kvmbpf.bpf.h>\nKVMBPF_DEVICE(d, {FIELDS});\n{READ}{WRITE}")
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
    findings = [item for item in check_file(output) if item.rule != "program-not-named"]
    assert [(item.severity, item.rule, item.place) for item in findings] == [
        (Severity.ERROR, "types", "section .BTF")
    ]


def test_another_struct_ops_type(demo_v1: Path, tmp_path: Path) -> None:
    path = swapped(demo_v1, tmp_path / "b.o", ".BTF", b"\0kvm_bpf_ops\0", b"\0tcp_bpf_ops\0")
    findings = check_file(path)
    assert [(item.severity, item.rule) for item in findings] == [(Severity.ERROR, "struct-ops")] * 2
    assert findings[0].place == "map kvmbpf_ops"
    assert "struct_ops type tcp_bpf_ops, which KVM does not have" in findings[0].sentence
    assert findings[1].sentence == "0 maps of type kvm_bpf_ops, expected one"


def test_two_struct_ops_maps(tmp_path: Path) -> None:
    second = 'SEC(".struct_ops.link") struct kvm_bpf_ops other = {\n'
    second += "\t.read = (void *)kvmbpf_read, .write = (void *)kvmbpf_write };\n"
    finding = only(build(tmp_path, before=second))
    assert (finding.rule, finding.sentence) == (
        "struct-ops",
        "2 maps of type kvm_bpf_ops, expected one",
    )


def test_members_that_the_kernel_has_not(demo_v1: Path, tmp_path: Path) -> None:
    path = swapped(demo_v1, tmp_path / "b.o", ".BTF", b"\0device_fd\0", b"\0device_id\0")
    assert [item.sentence for item in check_file(path)] == [
        "member device_id is not one of the kernel's kvm_bpf_ops",
        "no member device_fd, by which the manager names the device",
    ]


def test_a_member_without_its_program(demo_v1: Path, tmp_path: Path) -> None:
    elf = ElfImage(demo_v1)
    section = elf.section(".struct_ops.link")
    assert section is not None
    index = next(number for number, item in enumerate(elf.symbols()) if item.name == "kvmbpf_write")
    entry = struct.pack("<2I", 2, index)
    path = swapped(
        demo_v1, tmp_path / "b.o", ".rel.struct_ops.link", entry, struct.pack("<2I", 2, 0)
    )
    finding = only(path)
    assert finding.rule == "struct-ops"
    assert finding.sentence == "no program in write, though the notes say that it has one"


def with_flags(original: Path, path: Path, flags: int) -> Path:
    return swapped(
        original,
        path,
        ".note.kvmbpf",
        struct.pack("<3I", 2, 7, 3),
        struct.pack("<3I", 2, 7, flags),
    )


def test_flags_of_the_notes_and_of_the_map_differ(everything: Path, tmp_path: Path) -> None:
    finding = only(with_flags(everything, tmp_path / "b.o", 1))
    assert finding.sentence == "the device is concurrent here, and is not in the notes"
    findings = check_file(with_flags(everything, tmp_path / "b.o", 2))
    assert [(item.severity.value, item.rule.value) for item in findings] == [
        ("error", "struct-ops"),
        ("warning", "program-not-named"),
    ]
    assert findings[0].mend == "give KVMBPF_DEVICE .flags = KVMBPF_RESETS"
    assert findings[1].place == "program kvmbpf_reset"


def test_a_program_that_nothing_names(tmp_path: Path) -> None:
    extra = 'SEC("struct_ops/extra") int extra(__u64 *ctx) { return 0; }\n'
    finding = only(build(tmp_path, before=extra))
    assert (finding.severity, finding.rule) == (Severity.ERROR, "program-not-named")
    assert finding.place == "program extra"
    assert "nor any map" in finding.sentence


@pytest.mark.parametrize(("count", "expected"), [(90_000, []), (100_001, ["kvmbpf_read"])])
def test_instructions(count: int, expected: list[str], tmp_path: Path) -> None:
    read = (
        "KVMBPF_READ(struct kvmbpf_access *acc)\n{\n"
        f'\tif (acc->entry == KVMBPF_BY_KERNEL) asm volatile(".rept {count}; r0 = 0; .endr" '
        '::: "r0");\n\treturn 0;\n}\n'
    )
    findings = check_file(build(tmp_path, read=read))
    assert [item.place for item in findings] == [f"program {name}" for name in expected]
    assert {(item.severity, item.rule) for item in findings} <= {(Severity.WARNING, "instructions")}


CALL_OF_UNKNOWN = """extern int of_tomorrow(void) __ksym{weak};
KVMBPF_READ(struct kvmbpf_access *acc)
{{
	acc->value = acc->len;
	return of_tomorrow();
}}
"""


def test_a_kernel_function_that_nobody_knows(tmp_path: Path) -> None:
    path = build(tmp_path, read=CALL_OF_UNKNOWN.format(weak=""))
    finding = only(path)
    assert (finding.severity, finding.rule) == (Severity.ERROR, "kernel-function")
    assert finding.where == "d.bpf.c line 7"
    assert finding.source is not None
    assert finding.source.text == "return of_tomorrow();"
    assert finding.sentence.startswith("of_tomorrow is not known as one of the kernel's")
    assert check_file(build(tmp_path, read=CALL_OF_UNKNOWN.format(weak=" __weak"))) == []


@pytest.mark.parametrize("name", ["bpf_rcu_read_lock", "bpf_preempt_disable"])
def test_a_kernel_function_of_any_kernel(name: str, tmp_path: Path) -> None:
    read = f"extern void {name}(void) __ksym;\n" + READ.replace(
        "acc->value", f"{name}(); acc->value"
    )
    assert check_file(build(tmp_path, read=read)) == []


def test_a_device_function_that_is_not_weak(demo_v1: Path, tmp_path: Path) -> None:
    elf = ElfImage(demo_v1)
    table = elf.section(".symtab")
    assert table is not None
    index = next(
        number for number, item in enumerate(elf.symbols()) if item.name == "kvm_bpf_set_irq"
    )
    data = bytearray(demo_v1.read_bytes())
    place = table.offset + index * 24 + 4
    assert data[place] >> 4 == 2  # STB_WEAK
    data[place] = 1 << 4
    path = tmp_path / "strong.o"
    path.write_bytes(data)
    finding = only(path)
    assert (finding.severity, finding.rule) == (Severity.WARNING, "kernel-function")
    assert "does not load on a stock kernel" in finding.sentence
    assert finding.where.startswith("small.bpf.h line "), "not a line of our header"


def test_sleeping_where_it_is_not_allowed(tmp_path: Path) -> None:
    """The header refuses it in its own functions; the kernel's can be called past them."""
    read = (
        "KVMBPF_READ(struct kvmbpf_access *acc)\n{\n"
        "\tif (acc->entry == KVMBPF_BY_KERNEL)\n"
        "\t\treturn kvm_bpf_set_uclamp(acc->handle, 0, 1);\n"
        "\treturn 0;\n}\n"
    )
    finding = only(build(tmp_path, read=read))
    assert (finding.severity, finding.rule) == (Severity.ERROR, "sleeping")
    assert finding.sentence == "kvm_bpf_set_uclamp may sleep, and program kvmbpf_read may not"
    assert finding.where == "d.bpf.c line 6"
    sleepable = read.replace("KVMBPF_READ(", "KVMBPF_READ_SLEEPABLE(")
    assert check_file(build(tmp_path, read=sleepable)) == []


HELPER = """KVMBPF_READ(struct kvmbpf_access *acc)
{
	acc->value = acc->len;
	return CALL;
}
"""


@pytest.mark.parametrize(
    ("call", "severity", "name"),
    [
        ("bpf_send_signal(1)", Severity.ERROR, "bpf_send_signal"),
        ("((int (*)(void))999)()", Severity.WARNING, "helper 999"),
    ],
)
def test_helpers_that_a_device_has_not(
    call: str, severity: Severity, name: str, tmp_path: Path
) -> None:
    finding = only(build(tmp_path, read=HELPER.replace("CALL", call)))
    assert (finding.severity, finding.rule, finding.place) == (severity, "helper", name)
    assert finding.where == "d.bpf.c line 6"


def test_helpers_that_a_device_has(tmp_path: Path) -> None:
    assert check_file(build(tmp_path, read=HELPER.replace("CALL", "bpf_ktime_get_ns()"))) == []


def test_helpers_in_a_call_are_not_looked_at(tmp_path: Path) -> None:
    """A syscall program may call what tracing programs may."""
    only_there = "acc->entry == KVMBPF_BY_CALL ? bpf_send_signal(1) : 0"
    assert check_file(build(tmp_path, read=HELPER.replace("CALL", only_there))) == []


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ("KVMBPF_MMIO_AT(0xfed00000, 16)", []),
        ("KVMBPF_PIO_AT(0x3f9, 2)", []),
        ("KVMBPF_MMIO_AT(0xfed00010, 16)", [("error", "base")]),
    ],
)
def test_bases(region: str, expected: list[tuple[str, str]], tmp_path: Path) -> None:
    fields = f'.compatible = "acme,d", .regions = {{ {region} }}'
    assert rules(build(tmp_path, fields=fields)) == expected


# ---- what loads and makes no sense -----------------------------------------


RAISES = "KVMBPF_WRITE(struct kvmbpf_access *acc) { return kvmbpf_irq(acc, 0, 1); }\n"
LATER = (
    "KVMBPF_TIMER(tick) { kvmbpf_irq_later(later, 0, 1); }\n"
    "KVMBPF_WRITE(struct kvmbpf_access *acc) { return kvmbpf_timer_start(acc, tick, 1); }\n"
)
OUT_OF_LINE = (
    "static __noinline int raise(struct kvmbpf_access *acc) { return kvmbpf_irq(acc, 0, 1); }\n"
    "KVMBPF_WRITE(struct kvmbpf_access *acc) { return raise(acc); }\n"
)


@pytest.mark.parametrize(
    ("irqs", "write", "expected"),
    [
        (0, WRITE, []),
        (1, WRITE, [("warning", "irq-never-raised")]),
        (2, WRITE, [("warning", "irq-never-raised")]),
        (1, RAISES, []),
        (1, LATER, []),
        (1, OUT_OF_LINE, []),
        (0, RAISES, [("warning", "irq-not-there")]),
    ],
    ids=["none", "one", "two", "raised", "raised later", "out of line", "not there"],
)
def test_irqs(irqs: int, write: str, expected: list[tuple[str, str]], tmp_path: Path) -> None:
    path = build(tmp_path, fields=f"{FIELDS}, .irqs = {irqs}", write=write)
    assert rules(path) == expected
    for finding in check_file(path):
        if finding.rule == "irq-not-there":
            assert finding.where == "d.bpf.c line 4"
        else:
            assert finding.where == ("irq 0" if irqs == 1 else "irqs 0 to 1")


@pytest.mark.parametrize(
    ("irqs", "write", "never"),
    [
        (2, "return kvmbpf_irq(acc, 0, 1);", ["irq 1"]),
        (3, "return kvmbpf_irq(acc, 1, 1);", ["irq 0", "irq 2"]),
        (2, "return kvmbpf_irq(acc, acc->offset, 1);", []),
        (2, "return kvmbpf_irq(acc, acc->len == 4 ? 0 : 1, 1);", []),
        (
            2,
            "kvmbpf_irq(acc, 0, 1); if (acc->len == 4) return kvmbpf_irq(acc, 1, 0); return 0;",
            [],
        ),
        (
            3,
            "kvmbpf_irq(acc, 0, 1); if (acc->len == 4) return kvmbpf_irq(acc, 1, 0); return 0;",
            ["irq 2"],
        ),
    ],
)
@pytest.mark.parametrize("target", ["bpfel", "bpfeb"])
def test_an_irq_among_others(
    irqs: int, write: str, never: list[str], target: str, tmp_path: Path
) -> None:
    body = f"KVMBPF_WRITE(struct kvmbpf_access *acc) {{ {write} }}\n"
    build(tmp_path, fields=f"{FIELDS}, .irqs = {irqs}", write=body)
    findings = check_file(compiled(tmp_path / "d.bpf.c", tmp_path / "d.o", target))
    found = [item for item in findings if item.rule != "byte-order"]
    assert [item.place for item in found] == never
    assert {(item.severity, item.rule) for item in found} <= {
        (Severity.WARNING, "irq-never-raised")
    }


TWO = '.compatible = "acme,d", .regions = { KVMBPF_MMIO(16), KVMBPF_PIO(16) }'
ASKS = "acc->region ? 1 : acc->offset"


@pytest.mark.parametrize(
    ("fields", "read", "write", "alike"),
    [
        (FIELDS, "acc->offset", "acc->offset", []),
        (TWO, "acc->offset", "acc->offset", ["kvmbpf_read", "kvmbpf_write"]),
        (TWO, ASKS, "acc->offset", ["kvmbpf_write"]),
        (TWO, ASKS, ASKS, []),
        (TWO, ASKS, "acc->len", []),  # whatever it is, it looks at no place
        (TWO, ASKS, "KVMBPF_DECLINE", []),
    ],
)
def test_regions(fields: str, read: str, write: str, alike: list[str], tmp_path: Path) -> None:
    path = build(
        tmp_path,
        fields=fields,
        read=f"KVMBPF_READ(struct kvmbpf_access *acc) {{ return {read}; }}\n",
        write=f"KVMBPF_WRITE(struct kvmbpf_access *acc) {{ return {write}; }}\n",
    )
    findings = check_file(path)
    assert [item.place for item in findings] == [f"program {name}" for name in alike]
    assert {(item.severity, item.rule) for item in findings} <= {
        (Severity.WARNING, "regions-alike")
    }


def test_regions_are_asked_for_out_of_line(tmp_path: Path) -> None:
    read = (
        "static __noinline int one(struct kvmbpf_access *acc)\n"
        "{ return acc->region ? 1 : acc->offset; }\n"
        "KVMBPF_READ(struct kvmbpf_access *acc) { return one(acc); }\n"
    )
    findings = check_file(build(tmp_path, fields=TWO, read=read))
    assert [item.place for item in findings] == ["program kvmbpf_write"]


@pytest.mark.parametrize(
    ("compatible", "expected"),
    [
        ('"acme,d"', []),
        ('"acme,d\\0" "ns16550a"', []),
        ('"ns16550a"', [("warning", "compatible")]),
        ('"ns16550a\\0" "acme,d"', [("warning", "compatible")]),
    ],
)
def test_compatible(compatible: str, expected: list[tuple[str, str]], tmp_path: Path) -> None:
    fields = f".compatible = {compatible}, .regions = {{ KVMBPF_MMIO(16) }}"
    assert rules(build(tmp_path, fields=fields)) == expected


def test_a_device_for_patched_kernels_only(demo_v1: Path, tmp_path: Path) -> None:
    names = b"kvmbpf_call_read".ljust(32, b"\0") + b"kvmbpf_call_write".ljust(32, b"\0")
    path = swapped(demo_v1, tmp_path / "k.o", ".note.kvmbpf", names, bytes(64))
    finding = only(path)
    assert (finding.severity, finding.rule) == (Severity.NOTE, "patched-kernel-only")


MAP = (
    "struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1);\n"
    '\t__type(key, __u32); __type(value, __u64); } table SEC(".maps");\n'
)


def test_a_map_that_nothing_refers_to(tmp_path: Path) -> None:
    finding = only(build(tmp_path, before=MAP))
    assert (finding.severity, finding.rule, finding.place) == (
        Severity.NOTE,
        "map-not-used",
        "map table",
    )
    used = READ.replace(
        "acc->value", "__u32 k = 0; if (!bpf_map_lookup_elem(&table, &k)) return 1; acc->value"
    )
    assert check_file(build(tmp_path, before=MAP, read=used)) == []


CONTROLLER = 'KVMBPF_PROPERTY("interrupt-controller", "");\n'
CELLS = 'KVMBPF_PROPERTY("#interrupt-cells", "<2>");\n'


@pytest.mark.parametrize(
    ("irqs", "properties", "sentences"),
    [
        (1, CONTROLLER + CELLS, []),
        (1, CELLS, ["#interrupt-cells without interrupt-controller: they come together"]),
        (1, CONTROLLER, ["interrupt-controller without #interrupt-cells: they come together"]),
        (
            0,
            CONTROLLER + CELLS,
            ["an interrupt controller that has no interrupt of its own to raise"],
        ),
        (0, 'KVMBPF_PROPERTY("status", "\\"okay\\"");\n', []),
        (
            0,
            'KVMBPF_PROPERTY("status", "\\"disabled\\"");\n',
            ['"disabled": a guest leaves such a device alone'],
        ),
        (0, 'KVMBPF_PROPERTY("status", "");\n', ["no value: a guest leaves such a device alone"]),
        (1, 'KVMBPF_PROPERTY("interrupt-names", "\\"a\\"");\n', []),
        (1, 'KVMBPF_PROPERTY("interrupt-names", "\\"a\\", \\"b\\"");\n', ["2 names for 1 irqs"]),
        (0, 'KVMBPF_PROPERTY("reg-names", "\\"a\\"");\n', []),
        (0, 'KVMBPF_PROPERTY("reg-names", "<1>");\n', ["no strings for 1 regions"]),
        (0, 'KVMBPF_PROPERTY("clock-frequency", "<1>");\n', []),
    ],
)
def test_properties(irqs: int, properties: str, sentences: list[str], tmp_path: Path) -> None:
    write = RAISES if irqs else WRITE
    path = build(tmp_path, fields=f"{FIELDS}, .irqs = {irqs}", before=properties, write=write)
    findings = check_file(path)
    assert [finding.sentence for finding in findings] == sentences
    assert {(item.severity, item.rule) for item in findings} <= {(Severity.WARNING, "property")}


# ---- the command -----------------------------------------------------------


def kvmbpf(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kvmbpf", "check", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_clean_object(demo_v1: Path) -> None:
    done = kvmbpf("--strict", demo_v1)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{demo_v1}: nothing found\n", "")


def test_a_warning_fails_when_strict(tmp_path: Path) -> None:
    path = build(tmp_path, fields=f"{FIELDS}, .irqs = 1")
    done = kvmbpf(path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{path}: irq 0: warning: no program that the kernel enters ever raises it; "
        "call kvmbpf_irq() or kvmbpf_irq_later(), or take .irqs away",
        f"{path}: 1 warning",
    ]
    assert kvmbpf("--strict", path).returncode == 15


def test_a_note_never_fails(tmp_path: Path) -> None:
    done = kvmbpf("--strict", build(tmp_path, before=MAP))
    assert done.returncode == 0
    assert done.stdout.endswith(": 1 note\n")


def test_an_error_fails_whatever_else_is_fine(demo_v1: Path, tmp_path: Path) -> None:
    path = swapped(demo_v1, tmp_path / "b.o", "license", b"GPL\0", b"BSD\0")
    done = kvmbpf(demo_v1, path, tmp_path / "absent.o")
    assert (done.returncode, done.stderr) == (15, "")
    shown = done.stdout.splitlines()
    assert shown[0] == f"{demo_v1}: nothing found"
    assert shown[1].startswith(f'{path}: section license: error: licence "BSD" is not GPL-')
    assert shown[2] == f"{path}: 1 error"
    assert (
        shown[3] == f"{tmp_path}/absent.o: the file: error: no such file; nothing else was checked"
    )


def test_json(demo_v1: Path, tmp_path: Path) -> None:
    path = build(tmp_path, read=CALL_OF_UNKNOWN.format(weak=""))
    done = kvmbpf("--json", demo_v1, path)
    assert (done.returncode, done.stderr) == (15, "")
    content = json.loads(done.stdout)
    assert {key: content[key] for key in ("schema", "errors", "warnings", "notes")} == {
        "schema": SCHEMA,
        "errors": 1,
        "warnings": 0,
        "notes": 0,
    }
    clean, broken = content["files"]
    assert clean == {"file": str(demo_v1), "findings": []}
    assert broken["file"] == str(path)
    (finding,) = broken["findings"]
    assert list(finding) == ["severity", "rule", "place", "source", "sentence", "mend"]
    assert finding["source"] == {
        "file": "d.bpf.c",
        "line": 7,
        "column": 9,
        "text": "return of_tomorrow();",
    }


def test_no_file() -> None:
    done = kvmbpf()
    assert done.returncode == 2
    assert "Missing argument 'FILE...'" in done.stderr


def test_every_rule_is_documented() -> None:
    text = (ROOT / "docs" / "checking.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| ([a-z, ]+) \| .+ \|$", text, flags=re.MULTILINE)
    assert {name for name, _ in rows} == {rule.value for rule in Rule}
    assert len(rows) == len(Rule)
    words = {severity.value for severity in Severity}
    assert {word for _, severities in rows for word in severities.split(", ")} == words
    assert f"more than {MANY_INSTRUCTIONS:,} instructions" in text
