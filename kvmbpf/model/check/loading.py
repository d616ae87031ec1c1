# SPDX-License-Identifier: GPL-2.0-or-later
"""What a kernel, libbpf or the manager would refuse in an object.

Sources: check_struct_ops_btf_id() and check_kfunc_call() in kernel/bpf/verifier.c,
license_is_gpl_compatible() in include/linux/license.h, v6.12;
bpf_map__init_kern_struct_ops() in libbpf.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from kvmbpf.model.check.externs import outside
from kvmbpf.model.check.finding import Finding, Rule, Severity, line_of
from kvmbpf.model.objfile import RESET_PROGRAM, DeviceObject, EntryKind
from kvmbpf.model.objfile.btf import BTF_SECTION
from kvmbpf.model.objfile.names import (
    DEVICE_KFUNCS,
    HELPERS,
    KERNEL_KFUNCS,
    SLEEPABLE_KFUNCS,
    STRUCT_OPS_HELPERS,
    helper_name,
)
from kvmbpf.model.objfile.needs import Uses
from kvmbpf.model.objfile.ops import OpsMap, read_ops_maps
from kvmbpf.model.objfile.symbols import printable
from kvmbpf.model.placement import PAGE_BYTES
from kvmbpf.model.spec import Bus

OPS_TYPE = "kvm_bpf_ops"
OPS_PROGRAMS = ("read", "write", "reset")
OPS_MEMBERS = frozenset((*OPS_PROGRAMS, "device_fd", "flags"))
OPS_CONCURRENT = 1
# The verifier gives up after 1,000,000, every path counted.
MANY_INSTRUCTIONS = 100_000

_LICENCES = frozenset(
    (
        *("GPL", "GPL v2", "GPL and additional rights"),
        *("Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"),
    )
)
_LICENCE_MEND = 'let KVMBPF_DEVICE() say it, or write char license[] SEC("license") = "GPL"'
_HEADER_MEND = "let KVMBPF_DEVICE() of kvmbpf.bpf.h declare it"


def check_byte_order(device: DeviceObject) -> Iterator[Finding]:
    """An object for another byte order does not load here."""
    order = "little" if device.elf.little_endian else "big"
    if order != sys.byteorder:
        yield Finding(
            Severity.ERROR,
            Rule.BYTE_ORDER,
            "ELF header",
            f"a {order}-endian object, and this host is {sys.byteorder}-endian",
            "compile it with -target bpf on this host",
        )


def check_licence(device: DeviceObject) -> Iterator[Finding]:
    """struct_ops programs must have a GPL-compatible licence."""
    section = device.elf.section("license")
    raw = b"" if section is None else device.elf.data(section).partition(b"\0")[0]
    if not raw:
        sentence = "no licence; the verifier refuses struct_ops programs without"
    elif raw.decode(errors="replace") not in _LICENCES:
        sentence = (
            f'licence "{printable(raw[:64])}" is not GPL-compatible; the verifier refuses '
            "struct_ops programs, and calls of kernel functions"
        )
    else:
        return
    yield Finding(Severity.ERROR, Rule.LICENCE, "section license", sentence, _LICENCE_MEND)


def check_types(device: DeviceObject) -> Iterator[Finding]:
    """Without types libbpf finds neither struct_ops type nor kernel functions."""
    for name, missing in ((BTF_SECTION, device.btf), (".BTF.ext", device.btf_ext)):
        if missing is None:
            yield Finding(
                Severity.ERROR,
                Rule.TYPES,
                f"section {name}",
                "not there; neither the maps nor the kernel's types can be told without",
                "compile with -g, and do not strip the object",
            )
            return


def check_ops(device: DeviceObject) -> Iterator[Finding]:
    """The struct_ops map is what the manager attaches."""
    if device.btf is None:
        return
    maps = read_ops_maps(device.elf, device.btf)
    for item in maps:
        if item.type_name != OPS_TYPE:
            yield _ops_finding(
                item,
                f"struct_ops type {item.type_name}, which KVM does not have; "
                f"a device's is {OPS_TYPE}",
            )
        else:
            yield from _members(device, item)
    devices = [item for item in maps if item.type_name == OPS_TYPE]
    if len(devices) != 1:
        yield Finding(
            Severity.ERROR,
            Rule.STRUCT_OPS,
            "section .struct_ops.link",
            f"{len(devices)} maps of type {OPS_TYPE}, expected one",
            _HEADER_MEND,
        )


def _members(device: DeviceObject, item: OpsMap) -> Iterator[Finding]:
    for name in item.members:
        if name not in OPS_MEMBERS:
            yield _ops_finding(item, f"member {name} is not one of the kernel's {OPS_TYPE}")
    if "device_fd" not in item.members:
        yield _ops_finding(item, "no member device_fd, by which the manager names the device")
    for name in OPS_PROGRAMS:
        program = item.members.get(name)
        wanted = name != "reset" or device.spec.resets
        if wanted and not isinstance(program, str):
            yield _ops_finding(item, f"no program in {name}, though the notes say that it has one")
        elif not wanted and isinstance(program, str):
            yield _ops_finding(
                item,
                f"program {program} in reset, and the notes do not say that the device resets",
                "give KVMBPF_DEVICE .flags = KVMBPF_RESETS",
            )
    flags = item.members.get("flags", 0)
    concurrent = isinstance(flags, int) and bool(flags & OPS_CONCURRENT)
    if concurrent != device.spec.concurrent:
        one, other = ("is", "is not") if concurrent else ("is not", "is")
        yield _ops_finding(item, f"the device {one} concurrent here, and {other} in the notes")


def _ops_finding(item: OpsMap, sentence: str, mend: str = _HEADER_MEND) -> Finding:
    return Finding(Severity.ERROR, Rule.STRUCT_OPS, f"map {item.name}", sentence, mend)


def check_programs(device: DeviceObject) -> Iterator[Finding]:
    """A struct_ops program that no map has in it does not load."""
    named = {region.read_program for region in device.spec.regions}
    named |= {region.write_program for region in device.spec.regions}
    if device.spec.resets:
        named.add(RESET_PROGRAM)
    in_maps: set[object] = set()
    if device.btf is not None:
        for item in read_ops_maps(device.elf, device.btf):
            in_maps.update(item.members.values())
    for program in device.programs:
        if program.entry is not EntryKind.KERNEL or program.name in named:
            continue
        loads = program.name in in_maps
        yield Finding(
            Severity.WARNING if loads else Severity.ERROR,
            Rule.PROGRAM_NOT_NAMED,
            f"program {program.name}",
            "a struct_ops program that the notes do not name"
            + ("" if loads else ", nor any map: libbpf cannot load it"),
            "take it away, or serve a region with it",
        )


def check_size(device: DeviceObject) -> Iterator[Finding]:
    """The verifier looks at so many instructions and no more."""
    for program in device.programs:
        count = device.code.uses([program.name]).instructions
        if count > MANY_INSTRUCTIONS:
            yield Finding(
                Severity.WARNING,
                Rule.INSTRUCTIONS,
                f"program {program.name}",
                f"{count} instructions with what it calls; the verifier gives up after looking "
                "at 1000000, every path counted",
                "move loops into bpf_loop(), or parts into functions that are not inlined",
            )


def check_functions(device: DeviceObject) -> Iterator[Finding]:
    """Kernel functions must be there, or be weak."""
    uses = device.code.uses(program.name for program in device.programs)
    calls = any(program.entry is EntryKind.CALL for program in device.programs)
    marked = outside(device)
    for name in sorted({*uses.kfuncs, *uses.ksyms}):
        if name in uses.weak or (device.btf is not None and name not in marked):
            continue
        source = line_of(device, (uses.kfuncs.get(name) or uses.ksyms[name])[0])
        if name not in DEVICE_KFUNCS | KERNEL_KFUNCS:
            yield Finding(
                Severity.ERROR,
                Rule.KERNEL_FUNCTION,
                f"function {name}",
                f"{name} is not known as one of the kernel's, and not weak: the object "
                "does not load where the kernel does not have it",
                "declare it with __ksym __weak, and test its address before the call",
                source,
            )
        elif name in DEVICE_KFUNCS and calls:
            yield Finding(
                Severity.WARNING,
                Rule.KERNEL_FUNCTION,
                f"function {name}",
                f"{name} is not weak: the object does not load on a stock kernel, for which "
                "it has programs",
                "let kvmbpf.bpf.h declare it, or declare it with __ksym __weak",
                source,
            )


def check_sleeping(device: DeviceObject) -> Iterator[Finding]:
    """What sleeps is for programs that may."""
    for program in device.programs:
        if program.entry is not EntryKind.KERNEL or program.sleepable:
            continue
        uses = device.code.uses([program.name])
        for name in sorted(uses.kfuncs.keys() & SLEEPABLE_KFUNCS):
            places = [place for place in uses.kfuncs[name] if not place.in_callback]
            if places:
                yield Finding(
                    Severity.ERROR,
                    Rule.SLEEPING,
                    f"program {program.name}",
                    f"{name} may sleep, and program {program.name} may not",
                    "write the body with KVMBPF_READ_SLEEPABLE or KVMBPF_WRITE_SLEEPABLE, "
                    "or call it from a KVMBPF_WORK",
                    line_of(device, places[0]),
                )


def check_helpers(device: DeviceObject) -> Iterator[Finding]:
    """Only some helpers are there for struct_ops programs."""
    uses = _kernel_uses(device)
    for number in sorted(uses.helpers):
        name = helper_name(number)
        if 0 < number < len(HELPERS) and HELPERS[number] in STRUCT_OPS_HELPERS:
            continue
        known = 0 < number < len(HELPERS)
        yield Finding(
            Severity.ERROR if known else Severity.WARNING,
            Rule.HELPER,
            name,
            f"{name} is not for a device's struct_ops programs; tracing or another kind has it"
            if known
            else f"{name} is of a kernel after 6.12",
            "do without it in what the kernel enters",
            line_of(device, uses.helpers[number][0]),
        )


def check_bases(device: DeviceObject) -> Iterator[Finding]:
    """Memory is placed at the start of a page."""
    for region in device.spec.regions:
        if region.base is not None and region.bus is Bus.MMIO and region.base % PAGE_BYTES:
            yield Finding(
                Severity.ERROR,
                Rule.BASE,
                f"region {region.index}",
                f"it must be at {region.base:#x}, which is not the start of a page of "
                f"{PAGE_BYTES:#x} bytes: it cannot be placed",
                "give KVMBPF_MMIO_AT the start of the page, and leave out what is before",
            )


def _kernel_uses(device: DeviceObject) -> Uses:
    """Return what the programs use that KVM calls."""
    return device.code.uses(
        program.name for program in device.programs if program.entry is EntryKind.KERNEL
    )


CHECKS: tuple[Callable[[DeviceObject], Iterator[Finding]], ...] = (
    check_byte_order,
    check_licence,
    check_types,
    check_ops,
    check_programs,
    check_size,
    check_functions,
    check_sleeping,
    check_helpers,
    check_bases,
)
