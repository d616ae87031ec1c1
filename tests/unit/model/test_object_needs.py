# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.model.objfile.needs: what programs call and touch, through what they call."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from kvmbpf.author.compile import compile_device
from kvmbpf.errors import BadFileError
from kvmbpf.model.objfile import EntryKind, read_object
from kvmbpf.model.objfile.elf import ElfImage
from kvmbpf.model.objfile.needs import CodeMap, Uses
from tests.unit.model.test_object_reader import EVERYTHING, compiled

CALLS = """
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

struct element { struct bpf_timer timer; };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1);
	__type(key, __u32); __type(value, struct element);
} timers SEC(".maps");
__u64 direct, unused;
static volatile __u64 before, later;

extern int present(int) __ksym __weak;
extern int needed(void) __ksym;
extern const void address __ksym __weak;

static int ran(void *map, int *key, struct element *element)
{
	before = 1;
	later += bpf_get_smp_processor_id();
	return 0;
}

static __noinline int inner(int x) { direct += x; return bpf_ktime_get_ns() + x; }
__noinline int outer(int x) { return inner(x) + 1; }

SEC("syscall") int first(__u64 *ctx)
{
	__u32 key = 0;
	struct element *element = bpf_map_lookup_elem(&timers, &key);

	if (!element)
		return 1;
	bpf_timer_set_callback(&element->timer, ran);
	return outer(*ctx);
}

SEC("syscall") int second(__u64 *ctx)
{
	if (present)
		present(1);
	return needed() + (&address != 0);
}

SEC("syscall") int third(__u64 *ctx) { return inner(*ctx); }
"""


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calls")
    (folder / "calls.c").write_text(CALLS)
    return compile_device(folder / "calls.c", folder / "calls.o")


def functions(elf: ElfImage, uses: Uses) -> dict[str, bool]:
    """Return the functions by their symbols' names, and whether as callbacks."""
    names = {
        (symbol.section.number, symbol.value): symbol.name
        for symbol in elf.symbols()
        if symbol.type == "STT_FUNC" and symbol.section is not None
    }
    return {
        names[function.section.number, function.start]: later
        for function, later in uses.functions.items()
    }


def test_calls_and_callbacks_are_followed(calls: Path) -> None:
    elf = ElfImage(calls)
    uses = CodeMap(elf).uses(["first"])
    assert functions(elf, uses) == {"first": False, "outer": False, "inner": False, "ran": True}
    assert set(uses.helpers) == {1, 5, 8, 170}
    assert set(uses.variables) == {"timers", "direct", "before", "later"}
    assert not uses.kfuncs
    assert [place.in_callback for place in uses.helpers[8]] == [True]
    assert [place.in_callback for place in uses.helpers[5]] == [False]
    section = elf.section("syscall")
    text = elf.section(".text")
    assert section is not None
    assert text is not None
    sizes = {symbol.name: symbol.size for symbol in elf.symbols() if symbol.type == "STT_FUNC"}
    expected = sum(sizes[name] for name in ("first", "outer", "inner", "ran"))
    assert uses.instructions == expected // 8


def test_kernel_functions(calls: Path) -> None:
    uses = CodeMap(ElfImage(calls)).uses(["second"])
    assert set(uses.kfuncs) == {"present", "needed"}
    assert set(uses.ksyms) == {"present", "address"}
    assert uses.weak == {"present", "address"}
    assert len(uses.kfuncs["needed"]) == 1


def test_only_what_the_programs_reach_counts(calls: Path) -> None:
    elf = ElfImage(calls)
    code = CodeMap(elf)
    uses = code.uses(["third"])
    assert functions(elf, uses) == {"third": False, "inner": False}
    assert set(uses.variables) == {"direct"}
    assert code.uses([]).functions == {}
    assert code.uses(["absent"]).functions == {}
    both = code.uses(["first", "second", "third"])
    assert set(both.helpers) == {1, 5, 8, 170}
    assert len(both.helpers[5]) == 1, "a function is gone through once"


@pytest.mark.parametrize("programs", [["first"], ["second"], ["third"], ["first", "third"], []])
def test_the_variables_alone_are_those_of_all_uses(calls: Path, programs: list[str]) -> None:
    expected = set(CodeMap(ElfImage(calls)).uses(programs).variables)
    assert set(CodeMap(ElfImage(calls)).variables(programs)) == expected


def test_the_variables_alone_of_a_device(everything: Path) -> None:
    device = read_object(everything)
    for kind in (EntryKind.KERNEL, EntryKind.CALL):
        programs = [item.name for item in device.programs if item.entry is kind]
        found = set(device.code.variables(programs))
        assert found == set(device.code.uses(programs).variables)


def test_both_entries_of_a_device(everything: Path) -> None:
    device = read_object(everything)
    uses = {
        kind: device.code.uses(item.name for item in device.programs if item.entry is kind)
        for kind in (EntryKind.KERNEL, EntryKind.CALL)
    }
    kernel, call = uses[EntryKind.KERNEL], uses[EntryKind.CALL]
    assert {"kvm_bpf_set_irq", "kvm_bpf_device_set_irq", "kvm_bpf_read_guest"} <= set(kernel.kfuncs)
    assert set(kernel.kfuncs) <= kernel.weak
    assert not [name for name in call.kfuncs if name.startswith("kvm_bpf_")]
    assert {"table", "plain", "hidden", "state", "level"} <= set(kernel.variables)
    assert {"table", "plain", "hidden", "state", "level"} <= set(call.variables)
    assert "kvmbpf_kept_tick" in kernel.variables
    assert "kvmbpf_kept_tick" not in call.variables
    (place,) = kernel.kfuncs["kvm_bpf_write_guest"]
    assert place.in_callback, "called by the work only"


def test_byte_order_does_not_matter(everything: Path, tmp_path: Path) -> None:
    big = read_object(compiled(EVERYTHING, tmp_path / "big.o", "bpfeb"))
    little = read_object(everything)
    for device in (big, little):
        assert [item.entry for item in device.programs].count(EntryKind.KERNEL) == 3
    one, other = (
        device.code.uses(item.name for item in device.programs) for device in (big, little)
    )
    assert set(one.kfuncs) == set(other.kfuncs)
    assert set(one.helpers) == set(other.helpers)
    assert set(one.variables) == set(other.variables)


def test_a_call_into_nowhere(calls: Path) -> None:
    elf = ElfImage(calls)
    section = elf.section("syscall")
    assert section is not None
    symbol = next(item for item in elf.symbols() if item.name == "third")
    code = elf.data(section)
    at = next(
        offset
        for offset in range(symbol.value, symbol.value + symbol.size, 8)
        if code[offset : offset + 2] == b"\x85\x10"
    )
    data = bytearray(calls.read_bytes())
    struct.pack_into("<i", data, section.offset + at + 4, 9999)
    broken = CodeMap(ElfImage(Path("broken.o"), bytes(data)))
    assert broken.uses(["second"]).functions
    with pytest.raises(BadFileError) as caught:
        broken.uses(["third"])
    assert (caught.value.section, caught.value.offset) == ("syscall", at)
    assert "where no function starts" in caught.value.reason
