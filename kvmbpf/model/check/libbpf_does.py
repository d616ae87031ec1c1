# SPDX-License-Identifier: GPL-2.0-or-later
"""What libbpf would do by itself with an object, and kvmbpf decides otherwise, or cannot mend.

docs/devices.md, "What the manager decides", has all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kvmbpf.model.check.finding import Finding, Rule, Severity, line_of
from kvmbpf.model.objfile import DeviceObject, EntryKind
from kvmbpf.model.objfile.btfext import SourceLine

# What kvmbpf.bpf.h makes of the bodies for a VMM to call.
_CALLS = ("kvmbpf_call_read", "kvmbpf_call_write", "kvmbpf_call_reset")
_MADE_UP = ("LINUX_KERNEL_VERSION", "LINUX_HAS_BPF_COOKIE", "LINUX_HAS_SYSCALL_WRAPPER")


def check_pins(device: DeviceObject) -> Iterator[Finding]:
    """A map that is pinned by its name would be one for all VMs."""
    for item in device.maps:
        if item.pinning:
            yield Finding(
                Severity.WARNING,
                Rule.PINNED,
                f"map {item.name}",
                "pinned by its name, which means nothing here: each VM has a map of its own, "
                "and a device's state is kept by an update and ends with its VM",
                "take __uint(pinning, ...) away",
            )


def check_program_tables(device: DeviceObject) -> Iterator[Finding]:
    """A table of programs would be filled anew while the last version uses it."""
    for item in device.maps:
        if item.type == "prog_array":
            yield Finding(
                Severity.ERROR,
                Rule.PROGRAM_TABLE,
                f"map {item.name}",
                "a table of programs, for tail calls, which a device cannot have",
                "call functions instead, static or __noinline",
            )


def check_options(device: DeviceObject) -> Iterator[Finding]:
    """An option of the kernel's configuration must be where libbpf looks for it."""
    section = None if device.btf is None else device.btf.datasec(".kconfig")
    if device.btf is None or section is None:
        return
    weak = {symbol.name for symbol in device.elf.symbols() if symbol.weak}
    for variable in device.btf.variables(section):
        name = variable.name
        if name.startswith("CONFIG_"):
            unset = "" if name in weak else ", and set there"
            yield Finding(
                Severity.NOTE,
                Rule.KERNEL_CONFIG,
                f"option {name}",
                f"{name} is read when the device is attached: the host's configuration must be in "
                f"/boot/config-VERSION or /proc/config.gz{unset}",
                "say the value when it is compiled, or attach it where one of the two is"
                + ("" if name in weak else "; with __weak it may be unset, and is 0 then"),
                _first_use(device, name),
            )
        elif name not in _MADE_UP and not (name.startswith("LINUX_") and name in weak):
            yield Finding(
                Severity.ERROR,
                Rule.KERNEL_CONFIG,
                f"option {name}",
                f"{name} is no option of the kernel's, nor one of {', '.join(_MADE_UP)}",
                "only CONFIG_... and these can be __kconfig",
                _first_use(device, name),
            )


def check_other_programs(device: DeviceObject) -> Iterator[Finding]:
    """What neither KVM nor a VMM enters is not loaded."""
    for program in device.programs:
        call = program.entry is EntryKind.CALL and program.name in _CALLS
        if program.entry is not EntryKind.KERNEL and not call:
            yield Finding(
                Severity.NOTE,
                Rule.PROGRAM_NOT_LOADED,
                f"program {program.name}",
                f"in section {program.section}, which is none of a device's: it is not loaded",
                "take it into an object of its own",
            )


def _first_use(device: DeviceObject, name: str) -> SourceLine | None:
    places = device.code.uses(program.name for program in device.programs).ksyms.get(name)
    return line_of(device, places[0]) if places else None


CHECKS: tuple[Callable[[DeviceObject], Iterator[Finding]], ...] = (
    check_pins,
    check_program_tables,
    check_options,
    check_other_programs,
)
