# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf info``: all that is known of one device."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from kvmbpf.cli.limits import say_limits
from kvmbpf.cli.options import AS_JSON, DEVICE, NAME, WHICH
from kvmbpf.cli.table import moment
from kvmbpf.kernel.libbpf import plain
from kvmbpf.manager import Store
from kvmbpf.manager.info import Condition, DeviceInfo, Fault, device_info, monotonic_to_wall_s
from kvmbpf.manager.irqchip import Controller
from kvmbpf.model.irqchip import WORDS
from kvmbpf.model.vm_name import printable, shown

SCHEMA = 1
_FILE = {
    "same": "the file is still that one",
    "changed": "the file has CHANGED since",
    "gone": "the file is GONE",
    "unreadable": "the file cannot be read",
}
Facts = list[tuple[str, str]]


@click.command(name="info")
@DEVICE
@NAME
@WHICH
@AS_JSON
def info_command(device: str, vm: str | None, pid: int | None, as_json: bool) -> None:
    """Show everything that is known of DEVICE."""
    found = device_info(Store(), device, vm=vm, pid=pid)
    if as_json:
        click.echo(json.dumps(_as_json(found), indent=1))
        return
    facts = [*_identity(found), *_loaded(found), *_state(found), *_condition(found)]
    width = max(len(label) for label, _ in facts) + 2
    for label, text in facts:
        click.echo(f"{label:<{width}}{text}")


def _identity(found: DeviceInfo) -> Facts:
    record, vmm = found.record, found.vmm
    facts = [
        ("device", record.device),
        ("compatible", " ".join(record.compatible)),
        ("VM", shown(record.vm)),
        (
            "VMM",
            f"pid {vmm.pid}, {printable(vmm.name)}, user {vmm.user}"
            if vmm.name
            else f"pid {vmm.pid}, which has ended",
        ),
        ("attached", f"since {moment(record.attached_s)}, by process {record.manager}"),
        ("backend", f"{record.backend}: {record.reason}"),
    ]
    for index, region in enumerate(record.regions):
        place, unit = ("port ", "ports") if region.on_ports else ("", "bytes")
        facts.append(
            (f"region {index}", f"{region.bus} {place}{region.gpa:#x}, {region.size:#x} {unit}")
        )
    facts += [(f"irq {i}", f"gsi {irq.gsi}, {irq.trigger}") for i, irq in enumerate(record.irqs)]
    if found.controller is not None:
        facts.append(("irqchip", _irqchip(found.controller)))
    return facts


def _irqchip(controller: Controller) -> str:
    return f"{controller.chip.value}: {controller.why or WORDS[controller.chip]}"


def _loaded(found: DeviceInfo) -> Facts:
    facts: Facts = []
    if found.object is None:
        facts.append(("object", "unknown: another program than kvmbpf has replaced it"))
    else:
        file = found.object
        facts.append(
            ("object", f"{printable(file.path)}, loaded {moment(file.loaded_s)}; {_FILE[file.now]}")
        )
        facts.append(("sha256", file.sha256))
    for program in found.programs:
        info = program.info
        size = f"{info.jited_bytes} bytes of machine code" if info.jited_bytes else "not compiled"
        facts.append(
            (f"program {program.callback}", f"{info.name}, id {info.id}, tag {info.tag}, {size}")
        )
    for one in found.maps:
        facts.append(
            (
                f"map {one.name}",
                f"id {one.id}, {one.type}, {one.max_entries} of {one.key_bytes} + "
                f"{one.value_bytes} bytes, {one.memory_bytes} bytes of memory",
            )
        )
    return facts


def _state(found: DeviceInfo) -> Facts:
    facts = [("state", f"version {found.record.state_version} of its layout")]
    for value in found.state:
        facts.append((f"  {value.name}", f"{plain(value.value)}  {value.type}"))
    facts += [("unreadable", problem) for problem in found.unreadable]
    return facts


def _condition(found: DeviceInfo) -> Facts:
    condition = found.condition
    if condition is None:
        return [
            ("limits", f"{say_limits(found.record.limits)}, as they were set last"),
            ("condition", f"not known: {found.no_condition}"),
        ]
    said = "EJECTED: all accesses are declined" if condition.ejected else "works"
    facts = [
        ("limits", say_limits(condition.limits)),
        ("condition", f"{said}; {condition.replaced} times replaced, {condition.faults} faults"),
        ("last fault", _fault(condition.last_fault)),
    ]
    for index, region in enumerate(condition.regions):
        facts.append((f"region {index}", f"{region.declines} declined, {region.faults} faults"))
    return facts


def _fault(fault: Fault | None) -> str:
    if fault is None:
        return "none"
    why = f"error {fault.error}" if fault.reason == "error" else f"ran for {fault.run_ns} ns"
    kind = "write" if fault.write else "read"
    return (
        f"{why}, at a {kind} of {fault.bytes} bytes at {fault.offset:#x} of region {fault.region}, "
        f"vCPU {fault.vcpu}, {moment(monotonic_to_wall_s(fault.time_ns))}"
    )


def _as_json(found: DeviceInfo) -> dict[str, Any]:
    record = dataclasses.asdict(found.record)
    del record["versions"]
    return {
        "schema": SCHEMA,
        **record,
        "link_id": found.link_id,
        "vmm": dataclasses.asdict(found.vmm),
        "object": dataclasses.asdict(found.object) if found.object else None,
        "programs": [
            {"callback": program.callback, **dataclasses.asdict(program.info)}
            for program in found.programs
        ],
        "maps": [dataclasses.asdict(one) for one in found.maps],
        "state": [{**dataclasses.asdict(one), "value": plain(one.value)} for one in found.state],
        "unreadable": list(found.unreadable),
        "condition": _condition_json(found.condition),
        "no_condition": found.no_condition or None,
        "irqchip": found.controller.chip.value if found.controller else None,
        "no_irqchip": (found.controller.why or None) if found.controller else None,
    }


def _condition_json(condition: Condition | None) -> dict[str, Any] | None:
    return dataclasses.asdict(condition) if condition else None
