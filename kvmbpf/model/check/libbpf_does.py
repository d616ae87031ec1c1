# SPDX-License-Identifier: GPL-2.0-or-later
"""What libbpf would do by itself with an object, and kvmbpf decides otherwise, or cannot mend.

docs/devices.md, "What the manager decides", has all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kvmbpf.model.check.finding import Finding, Rule, Severity
from kvmbpf.model.objfile import DeviceObject, EntryKind

# What kvmbpf.bpf.h makes of the bodies for a VMM to call.
_CALLS = ("kvmbpf_call_read", "kvmbpf_call_write", "kvmbpf_call_reset")


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


CHECKS: tuple[Callable[[DeviceObject], Iterator[Finding]], ...] = (
    check_pins,
    check_program_tables,
    check_other_programs,
)
