# SPDX-License-Identifier: GPL-2.0-or-later
"""The author's header: what it refuses to compile, and that its examples do."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from kvmbpf.author.compile import compile_device
from kvmbpf.errors import BadFileError
from kvmbpf.kernel.uapi.kvmbpf import kvmbpf_call, kvmbpf_log_record
from kvmbpf.model.objfile.btf import Btf, Kind
from kvmbpf.model.objfile.elf import ElfImage
from tests.header_examples import Example, examples, public_names, undocumented

BODIES = """
KVMBPF_READ(struct kvmbpf_access *acc) { acc->value = 0; return 0; }
KVMBPF_WRITE(struct kvmbpf_access *acc) { return KVMBPF_DECLINE; }
"""
DEVICE = 'KVMBPF_DEVICE(d, .compatible = "a,b", .regions = { KVMBPF_MMIO(16) });'


def build(folder: Path, *parts: str) -> Path:
    path = folder / "device.bpf.c"
    path.write_text("\n".join(("#include <kvmbpf.bpf.h>", *parts, "")))
    return compile_device(path, folder / "device.bpf.o", warnings_are_errors=True)


def refusal(folder: Path, *parts: str) -> str:
    with pytest.raises(BadFileError) as caught:
        build(folder, *parts)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{folder}/device.bpf.c: device.bpf.c line ")
    return text.split(": ", 2)[2]


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_every_example_compiles(example: Example, tmp_path: Path) -> None:
    source = tmp_path / "example.bpf.c"
    source.write_text(example.source())
    compile_device(source, tmp_path / "example.bpf.o", warnings_are_errors=True)


def test_everything_public_has_an_example() -> None:
    assert len(public_names()) > 25, "the names are still found"
    assert undocumented() == set()


@pytest.mark.parametrize(
    ("region", "sentence"),
    [
        ("KVMBPF_MMIO(0)", "a region has at least one byte"),
        ("KVMBPF_MMIO(1ULL << 53)", "a region ends at address 2^52"),
        ("KVMBPF_PIO(0)", "a region of ports has 1 to 0x10000 of them"),
        ("KVMBPF_PIO(0x10001)", "a region of ports has 1 to 0x10000 of them"),
        ("KVMBPF_MMIO_AT(0xfed00000, 0)", "a region has at least one byte"),
        ("KVMBPF_MMIO_AT(0, 16)", "a region's address is not 0, and its end at most 2^52"),
        (
            "KVMBPF_MMIO_AT(0xffffffffffff0, 17)",
            "a region's address is not 0, and its end at most 2^52",
        ),
        ("KVMBPF_PIO_AT(0x3f8, 0)", "a region of ports has 1 to 0x10000 of them"),
        ("KVMBPF_PIO_AT(0, 8)", "a region's first port is not 0, and its last at most 0xffff"),
        ("KVMBPF_PIO_AT(0xfff9, 8)", "a region's first port is not 0, and its last at most 0xffff"),
    ],
)
def test_wrong_region_is_refused(region: str, sentence: str, tmp_path: Path) -> None:
    device = f'KVMBPF_DEVICE(d, .compatible = "a,b", .regions = {{ {region} }});'
    assert refusal(tmp_path, device, BODIES) == sentence


@pytest.mark.parametrize(
    "region",
    [
        "KVMBPF_MMIO(1ULL << 52)",
        "KVMBPF_MMIO_AT(0xffffffffffff0, 16)",
        "KVMBPF_PIO(0x10000)",
        "KVMBPF_PIO_AT(0xfff8, 8)",
    ],
)
def test_region_at_the_limit_is_taken(region: str, tmp_path: Path) -> None:
    build(tmp_path, f'KVMBPF_DEVICE(d, .compatible = "a", .regions = {{ {region} }});', BODIES)


ONE = '.compatible = "a,b", .regions = { KVMBPF_MMIO(16) }'


@pytest.mark.parametrize(
    ("name", "fields", "sentence"),
    [
        ("n" * 32, ONE, "a device's name has at most 31 characters"),
        ("d", '.compatible = "a,b"', "a device has at least one region, as KVMBPF_MMIO(0x1000)"),
        (
            "d",
            f'.compatible = "a,b", .regions = {{ {"KVMBPF_MMIO(16), " * 9} }}',
            "a device has at most 8 regions",
        ),
        ("d", f"{ONE}, .irqs = 33", "a device has at most 32 irqs"),
        ("d", f"{ONE}, .irqs = -1", "a device has at most 32 irqs"),
        (
            "d",
            f"{ONE}, .irqs = 1, .level_irqs = 2",
            "level_irqs names an irq that the device does not have",
        ),
        ("d", f"{ONE}, .version = 0", "a device's version is 1 or more"),
        ("d", f"{ONE}, .flags = 4", "a device's flags are KVMBPF_RESETS and KVMBPF_CONCURRENT"),
        ("d", ".regions = { KVMBPF_MMIO(16) }", "a device says what it is .compatible with"),
        (
            "d",
            f'.compatible = "{"c" * 128}", .regions = {{ KVMBPF_MMIO(16) }}',
            "compatible has at most 127 characters",
        ),
    ],
)
def test_wrong_device_is_refused(name: str, fields: str, sentence: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, f"KVMBPF_DEVICE({name}, {fields});", BODIES) == sentence


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (f'.compatible = "{"c" * 129}", .regions = {{ KVMBPF_MMIO(16) }}', "too long"),
        (f'.compatible = "a", .regions = {{ {"KVMBPF_MMIO(16), " * 10} }}', "excess elements"),
        (f"{ONE}, .colour = 1", "colour"),
    ],
)
def test_what_clang_itself_refuses_is_told_too(fields: str, words: str, tmp_path: Path) -> None:
    assert words in refusal(tmp_path, f"KVMBPF_DEVICE(d, {fields});", BODIES)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ('"", "<1>"', "a property has a name"),
        (f'"{"p" * 32}", "<1>"', "a property's name has at most 31 characters"),
        (f'"p", "{"v" * 1024}"', "a property's value has at most 1023 characters"),
        *(
            (
                f'"{name}", "<1>"',
                "this property is made from KVMBPF_DEVICE's fields or by the firmware",
            )
            for name in (
                *("compatible", "reg", "interrupts", "interrupt-parent", "ranges"),
                *("#address-cells", "#size-cells", "phandle"),
            )
        ),
    ],
    ids=lambda text: text[:40],
)
def test_wrong_property_is_refused(arguments: str, sentence: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, DEVICE, f"KVMBPF_PROPERTY({arguments});", BODIES) == sentence


def test_property_at_the_limit_is_taken(tmp_path: Path) -> None:
    build(tmp_path, DEVICE, f'KVMBPF_PROPERTY("{"p" * 31}", "{"v" * 1023}");', BODIES)


def test_property_that_is_no_text_is_refused(tmp_path: Path) -> None:
    assert "expected" in refusal(tmp_path, DEVICE, 'KVMBPF_PROPERTY(name, "<1>");', BODIES)


def test_body_before_the_device_is_refused(tmp_path: Path) -> None:
    assert "KVMBPF_DEVICE_comes_first" in refusal(tmp_path, BODIES, DEVICE)


def test_reset_body_without_its_flag_is_refused(tmp_path: Path) -> None:
    reset = "KVMBPF_RESET(struct kvmbpf_access *acc) { return 0; }"
    assert refusal(tmp_path, DEVICE, BODIES, reset) == (
        "a device with KVMBPF_RESET has .flags = KVMBPF_RESETS"
    )


def test_second_body_is_refused(tmp_path: Path) -> None:
    again = "KVMBPF_READ(struct kvmbpf_access *acc) { return 0; }"
    assert "redefinition" in refusal(tmp_path, DEVICE, BODIES, again)


MAY_SLEEP = (
    "this may sleep: call it from KVMBPF_READ_SLEEPABLE, KVMBPF_WRITE_SLEEPABLE, KVMBPF_RESET or "
    "KVMBPF_WORK"
)

OF_CLANG_19 = "call to 'kvmbpf_must_be_sleepable' declared with 'error' attribute: "


@pytest.mark.parametrize(
    "call",
    [
        "kvmbpf_guest_read(acc, 0, &acc->value, 8)",
        "kvmbpf_guest_write(acc, 0, &acc->value, 8)",
        "kvmbpf_uclamp(acc, 0, 1024)",
    ],
)
def test_call_that_sleeps_is_refused_where_none_may(call: str, tmp_path: Path) -> None:
    read = "KVMBPF_READ(struct kvmbpf_access *acc) { return 0; }"
    body = f"(struct kvmbpf_access *acc) {{ return {call}; }}"
    text = refusal(tmp_path, DEVICE, read, f"KVMBPF_WRITE{body}")
    assert text.removeprefix(OF_CLANG_19) == MAY_SLEEP
    build(tmp_path, DEVICE, read, f"KVMBPF_WRITE_SLEEPABLE{body}")


@pytest.mark.parametrize("call", ["kvmbpf_guest_read_later", "kvmbpf_guest_write_later"])
def test_call_that_sleeps_is_refused_in_a_timer(call: str, tmp_path: Path) -> None:
    body = f"(it) {{ __u64 word = 0; {call}(later, 0, &word, sizeof(word)); }}"
    start = (
        "KVMBPF_READ(struct kvmbpf_access *acc) {{ return kvmbpf_{}_start(acc, it{}); }}\n"
        "KVMBPF_WRITE(struct kvmbpf_access *acc) {{ return 0; }}"
    )
    text = refusal(tmp_path, DEVICE, f"KVMBPF_TIMER{body}", start.format("timer", ", 1"))
    assert text.removeprefix(OF_CLANG_19) == MAY_SLEEP
    build(tmp_path, DEVICE, f"KVMBPF_WORK{body}", start.format("work", ""))


def test_start_of_what_is_not_there_is_refused(tmp_path: Path) -> None:
    read = "KVMBPF_READ(struct kvmbpf_access *acc) { return kvmbpf_timer_start(acc, absent, 1); }"
    assert "kvmbpf_again_absent" in refusal(tmp_path, DEVICE, read)


def log_call(arguments: str) -> str:
    return f"KVMBPF_READ(struct kvmbpf_access *acc) {{ kvmbpf_log({arguments}); return 0; }}"


WRITE = "KVMBPF_WRITE(struct kvmbpf_access *acc) { return KVMBPF_DECLINE; }"


def test_log_takes_twelve_arguments_and_no_more(tmp_path: Path) -> None:
    def arguments(count: int) -> str:
        return ", ".join((f'"{"%d" * count}"', *map(str, range(count))))

    build(tmp_path, DEVICE, log_call(arguments(0)), WRITE)
    build(tmp_path, DEVICE, log_call(arguments(12)), WRITE)
    assert refusal(tmp_path, DEVICE, log_call(arguments(13)), WRITE) == (
        "kvmbpf_log() takes at most 12 arguments"
    )


def test_log_arguments_are_checked_against_the_format(tmp_path: Path) -> None:
    assert "format specifies type" in refusal(tmp_path, DEVICE, log_call('"%u", acc->value'), WRITE)


def test_each_body_is_in_the_object_twice(tmp_path: Path) -> None:
    device = f"KVMBPF_DEVICE(d, {ONE}, .flags = KVMBPF_RESETS);"
    reset = "KVMBPF_RESET(struct kvmbpf_access *acc) { return 0; }"
    elf = ElfImage(build(tmp_path, device, BODIES, reset))
    functions = {
        symbol.name: symbol.section.name
        for symbol in elf.symbols()
        if symbol.type == "STT_FUNC" and symbol.section is not None
    }
    assert functions == {
        "kvmbpf_read": "struct_ops/kvmbpf_read",
        "kvmbpf_write": "struct_ops/kvmbpf_write",
        "kvmbpf_reset": "struct_ops.s/kvmbpf_reset",
        "kvmbpf_call_read": "syscall",
        "kvmbpf_call_write": "syscall",
        "kvmbpf_call_reset": "syscall",
    }


def test_sleepable_bodies_are_in_sections_of_their_own(tmp_path: Path) -> None:
    elf = ElfImage(
        build(
            tmp_path,
            DEVICE,
            "KVMBPF_READ_SLEEPABLE(struct kvmbpf_access *acc) { return 0; }",
            "KVMBPF_WRITE_SLEEPABLE(struct kvmbpf_access *acc) { return 0; }",
        )
    )
    assert elf.section("struct_ops.s/kvmbpf_read") is not None
    assert elf.section("struct_ops.s/kvmbpf_write") is not None
    assert elf.section("struct_ops/kvmbpf_read") is None


@pytest.mark.parametrize("mirror", [kvmbpf_call, kvmbpf_log_record])
def test_structure_is_as_in_the_header(mirror: type[ctypes.Structure], tmp_path: Path) -> None:
    variable = f"struct {mirror.__name__} variable;"
    btf = Btf.of(ElfImage(build(tmp_path, DEVICE, BODIES, variable)))
    assert btf is not None
    found = next(item for item in btf.types(Kind.STRUCT) if item.name == mirror.__name__)
    assert btf.size_of(found.id) == ctypes.sizeof(mirror)
    assert [
        (member.name, member.bit_offset // 8, btf.size_of(member.type_id))
        for member in btf.members(found)
    ] == [
        (name, getattr(mirror, name).offset, getattr(mirror, name).size)
        for name in (field[0] for field in mirror._fields_)
    ]
