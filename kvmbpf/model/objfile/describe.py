# SPDX-License-Identifier: GPL-2.0-or-later
"""An object's content as plain values: what ``kvmbpf inspect --json`` prints.

The form has a version, `SCHEMA`: it goes up when a key goes away or changes its
meaning, not when one is added.
"""

from __future__ import annotations

from typing import Any

from kvmbpf.model.objfile.names import helper_name
from kvmbpf.model.objfile.needs import Uses
from kvmbpf.model.objfile.reader import DeviceObject, EntryKind, ProgramInfo

SCHEMA = 1


def describe(device: DeviceObject) -> dict[str, Any]:
    """Return what an object holds, as a dictionary that `json.dumps` takes.

    :param device: the object.
    :raise BadFileError: when its types, code or relocations are broken.
    """
    return {
        "schema": SCHEMA,
        "file": str(device.path),
        "byte_order": "little" if device.elf.little_endian else "big",
        "device": device.spec.to_json(),
        "programs": [_program(program) for program in device.programs],
        "maps": _maps(device),
        "state": [variable.to_json() for variable in device.state],
        "needs": {kind.value: needs(device, kind) for kind in (EntryKind.KERNEL, EntryKind.CALL)},
    }


def needs(device: DeviceObject, kind: EntryKind) -> dict[str, Any] | None:
    """Return what one kind of entry needs of a kernel, or None when there is none.

    :param device: the object.
    :param kind: `EntryKind.KERNEL` or `EntryKind.CALL`.
    :raise BadFileError: when code, types or relocations are broken.
    """
    programs = [program for program in device.programs if program.entry is kind]
    if not programs:
        return None
    uses = device.code.uses(program.name for program in programs)
    struct_ops = [
        item.value_type.removeprefix("struct ")
        for item in device.maps
        if item.type == "struct_ops" and kind is EntryKind.KERNEL
    ]
    return {
        "programs": [program.name for program in programs],
        "instructions": uses.instructions,
        "sleepable": any(program.sleepable for program in programs),
        "struct_ops": sorted(set(struct_ops)),
        "functions": [
            {"name": name, "optional": name in uses.weak}
            for name in sorted({*uses.kfuncs, *uses.ksyms})
        ],
        "kconfig": [{"name": name, "optional": name in uses.weak} for name in sorted(uses.kconfig)],
        "helpers": [
            {"number": number, "name": helper_name(number)} for number in sorted(uses.helpers)
        ],
        "map_types": sorted(
            {item.type for item in device.maps if item.name in uses.variables and item.type}
        ),
        "types": core_types(device, uses),
    }


def core_types(device: DeviceObject, uses: Uses) -> list[str]:
    """Return the kernel's types and members that code needs, as ``kvm_bpf_access.len``.

    :param device: the object.
    :param uses: what the code uses.
    :raise BadFileError: when the CO-RE relocations are broken.
    """
    if device.btf_ext is None:
        return []
    return sorted(
        {
            f"{item.type_name}.{item.path}" if item.path else item.type_name
            for item in device.btf_ext.core_accesses
            if not item.asks_only and uses.has(item.section, item.offset)
        }
    )


def _program(program: ProgramInfo) -> dict[str, Any]:
    return {
        "name": program.name,
        "section": program.section,
        "entry": program.entry.value,
        "sleepable": program.sleepable,
        "instructions": program.instructions,
    }


def _maps(device: DeviceObject) -> list[dict[str, Any]]:
    used = device.code.uses(program.name for program in device.programs).variables
    return [
        item.to_json() | {"used": item.type == "struct_ops" or item.name in used}
        for item in device.maps
    ]
