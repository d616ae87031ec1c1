# SPDX-License-Identifier: GPL-2.0-or-later
"""What an object refers to outside its own code, where libbpf makes nothing of it.

libbpf fills in the addresses of maps, of variables in sections that it knows, of the
kernel's functions and variables (``__ksym``), and values of the kernel's configuration
(``__kconfig``). All else keeps it from opening the object, or is left as it is.

Source: bpf_object__collect_externs(), bpf_object__elf_collect(),
bpf_object__resolve_externs() and bpf_program__record_reloc() in libbpf 1.0 to 1.6.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Iterator

from kvmbpf.model.check.finding import Finding, Rule, Severity, line_of
from kvmbpf.model.objfile import DeviceObject
from kvmbpf.model.objfile.btfext import SourceLine
from kvmbpf.model.objfile.needs import KCONFIG_SECTION, Place, Uses
from kvmbpf.model.objfile.symbols import Section, Symbol

KSYMS_SECTION = ".ksyms"
LEGACY_MAPS = "maps"

# Values that libbpf has itself; the rest is read from the kernel's configuration.
_VIRTUAL = frozenset(("LINUX_KERNEL_VERSION", "LINUX_HAS_BPF_COOKIE", "LINUX_HAS_SYSCALL_WRAPPER"))
_VIRTUALS = "LINUX_KERNEL_VERSION or one of two more that libbpf has"
_CONFIG, _LINUX = "CONFIG_", "LINUX_"
# Variables are in these, or in one of them and a dot and a name.
_DATA = (".data", ".bss", ".rodata")
_OTHERS = frozenset(
    (".maps", "license", "version", KCONFIG_SECTION, KSYMS_SECTION, ".addr_space.1")
)
_LIBRARY = frozenset(
    (
        *("memset", "memcpy", "memmove", "memcmp", "bcmp", "strlen", "strcmp", "strncmp"),
        *("strcpy", "strncpy", "printf", "snprintf", "puts", "malloc", "free", "abort", "abs"),
    )
)
_NOT_DEFINED = (
    "define it, or, if it is one of the kernel's, declare it with __ksym __weak and test its "
    "address before its use"
)
_NO_LIBRARY = (
    "there is no C library: write __builtin_memset() and the like, with a constant length, "
    "or write it out"
)
_MAPS_MEND = (
    "define it as `struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 2); "
    '__type(key, __u32); __type(value, __u64); } name SEC(".maps")`'
)


def outside(device: DeviceObject) -> frozenset[str]:
    """Return the names of the kernel's that an object refers to as libbpf wants it.

    :param device: the object.
    :raise BadFileError: when its types are broken.
    """
    found: set[str] = set()
    if device.btf is not None:
        for name in (KSYMS_SECTION, KCONFIG_SECTION):
            section = device.btf.datasec(name)
            if section is not None:
                found.update(variable.name for variable in device.btf.variables(section))
    return frozenset(found)


def check_externs(device: DeviceObject) -> Iterator[Finding]:
    """What is declared and not defined is the kernel's, and says so."""
    if device.btf is None:
        return
    known = outside(device)
    uses = _uses(device)
    for symbol in device.elf.symbols():
        if symbol.section is not None or symbol.type != "STT_NOTYPE" or not symbol.name:
            continue
        if symbol.binding not in ("STB_GLOBAL", "STB_WEAK") or symbol.name in known:
            continue
        places = uses.kfuncs.get(symbol.name) or uses.ksyms.get(symbol.name) or []
        yield Finding(
            Severity.ERROR,
            Rule.LIBBPF,
            f"symbol {symbol.name}",
            f"{symbol.name} is declared and not defined, and not marked as one of the "
            "kernel's: libbpf does not open the object",
            _NO_LIBRARY if symbol.name in _LIBRARY else _NOT_DEFINED,
            _line(device, places),
        )


def check_kconfig(device: DeviceObject) -> Iterator[Finding]:
    """Values of the kernel's configuration are read where the object is loaded."""
    uses = _uses(device)
    for name, places in sorted(uses.kconfig.items()):
        source = _line(device, places)
        if name.startswith(_CONFIG):
            yield Finding(
                Severity.NOTE,
                Rule.KCONFIG,
                f"symbol {name}",
                f"{name} is read from the kernel's configuration when the device is loaded: "
                "/boot/config-$(uname -r) or /proc/config.gz has to be there"
                + ("" if name in uses.weak else f", with {name} in it"),
                "where neither is, install or mount the one"
                + ("" if name in uses.weak else "; with __weak it may be unset, and is 0 then"),
                source,
            )
        elif name not in _VIRTUAL and not (name.startswith(_LINUX) and name in uses.weak):
            yield Finding(
                Severity.ERROR,
                Rule.KCONFIG,
                f"symbol {name}",
                f"{name} is no value that libbpf has, nor of the kernel's configuration: the "
                "object does not load",
                f"what has __kconfig begins with {_CONFIG}, or is {_VIRTUALS}",
                source,
            )


def check_sections(device: DeviceObject) -> Iterator[Finding]:
    """Variables that code refers to are in sections that libbpf makes maps of."""
    uses = _uses(device)
    told: set[str] = set()
    legacy = device.elf.section(LEGACY_MAPS)
    for symbol in device.elf.variables():
        section = symbol.section
        if section is None or section.name in told or _is_known(section):
            continue
        if section is not legacy and symbol.name not in uses.variables:
            continue
        told.add(section.name)
        maps = section.name == LEGACY_MAPS or section.name.startswith(f"{LEGACY_MAPS}/")
        yield Finding(
            Severity.ERROR,
            Rule.LIBBPF,
            f"{'map' if maps else 'variable'} {symbol.name}",
            f"{symbol.name} is in section {section.name}, "
            + ("as maps were before libbpf 1.0" if maps else "of which libbpf makes nothing")
            + ": libbpf does not open the object",
            _MAPS_MEND if maps else "take its SEC() away, or name a section .data.something",
            _line(device, uses.variables.get(symbol.name, [])),
        )


def check_addresses(device: DeviceObject) -> Iterator[Finding]:
    """Addresses that are initial values are never filled in: they are NULL."""
    uses = _uses(device)
    told: set[str] = set()
    holders: dict[Section, list[Symbol]] = {}
    for symbol in device.elf.variables():
        if symbol.section is not None and symbol.section.name.startswith(_DATA):
            holders.setdefault(symbol.section, []).append(symbol)
    for section, symbols in holders.items():
        symbols.sort(key=lambda symbol: symbol.value)
        for item in device.elf.relocations(section):
            target = item.symbol.section
            if target is not None and target.executable:
                continue  # what is called through it is told by `check_calls`
            index = bisect.bisect_right(symbols, item.offset, key=lambda symbol: symbol.value)
            holder = symbols[index - 1].name if index else section.name
            if holder in told:
                continue
            told.add(holder)
            yield Finding(
                Severity.WARNING,
                Rule.ADDRESS,
                f"variable {holder}",
                f"the address that {holder} begins with is not filled in: it is NULL, and the "
                "verifier refuses to follow it",
                "take the address in a program, or have arrays in it, as `char names[2][8]`",
                _line(device, uses.variables.get(holder, [])),
            )
            if len(told) == _MOST_TOLD:
                return


def check_calls(device: DeviceObject) -> Iterator[Finding]:
    """There are no calls through a pointer, and none that lead back to where they are."""
    uses = _uses(device)
    places = uses.indirect
    if places:
        yield Finding(
            Severity.ERROR,
            Rule.CALL,
            "section " + places[0].section,
            "a function is called through a pointer, which BPF has not: the verifier refuses it "
            "(unknown opcode 8d)",
            "write a switch that calls each function by its name",
            _line(device, places),
        )
    circle = device.code.circle(uses)
    if circle is not None:
        yield Finding(
            Severity.ERROR,
            Rule.CALL,
            f"section {circle.section}",
            "a function calls itself, or one that leads back to it: the verifier refuses it "
            "(the call stack of 9 frames is too deep)",
            "write the recursion as a loop that counts to a constant",
            _line(device, [circle]),
        )


# Of one kind: an array of 100 addresses is one mistake.
_MOST_TOLD = 8


def _is_known(section: Section) -> bool:
    name = section.name
    return (
        section.executable
        or name in _OTHERS
        or name in _DATA
        or name.startswith(tuple(f"{one}." for one in _DATA))
        or name.startswith((".struct_ops", "?.struct_ops"))
    )


def _uses(device: DeviceObject) -> Uses:
    return device.code.uses(program.name for program in device.programs)


def _line(device: DeviceObject, places: Iterable[Place]) -> SourceLine | None:
    first = next(iter(places), None)
    return None if first is None else line_of(device, first)


CHECKS: tuple[Callable[[DeviceObject], Iterator[Finding]], ...] = (
    check_externs,
    check_kconfig,
    check_sections,
    check_addresses,
    check_calls,
)
