# SPDX-License-Identifier: GPL-2.0-or-later
"""What loads, and does not do what the device says it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kvmbpf.model.check.finding import Finding, Rule, Severity, line_of
from kvmbpf.model.dts import Strings, parse_value
from kvmbpf.model.objfile import DeviceObject, EntryKind
from kvmbpf.model.objfile.describe import core_types
from kvmbpf.model.objfile.names import IRQ_KFUNCS
from kvmbpf.model.spec import PropertySpec, RegionSpec

_OWN_MAPS = "kvmbpf_"
# Of the kernel's functions that set an irq: the register that its index is in.
_INDEX_ARGUMENT = 2


def check_irqs(device: DeviceObject) -> Iterator[Finding]:
    """A device that has irqs raises them; one that raises them has some."""
    uses = device.code.uses(
        program.name for program in device.programs if program.entry is EntryKind.KERNEL
    )
    raised = sorted(IRQ_KFUNCS & uses.kfuncs.keys())
    count = len(device.spec.irqs)
    if count and not raised:
        yield Finding(
            Severity.WARNING,
            Rule.IRQ_NEVER_RAISED,
            "irq 0" if count == 1 else f"irqs 0 to {count - 1}",
            "no program that the kernel enters ever raises it"
            if count == 1
            else "no program that the kernel enters ever raises one",
            "call kvmbpf_irq() or kvmbpf_irq_later(), or take .irqs away",
        )
    indexes = {
        device.code.argument(place, _INDEX_ARGUMENT)
        for name in raised
        for place in uses.kfuncs[name]
    }
    if raised and None not in indexes:
        for index in sorted(set(range(count)) - indexes):
            yield Finding(
                Severity.WARNING,
                Rule.IRQ_NEVER_RAISED,
                f"irq {index}",
                "programs that the kernel enters raise others, and never this one",
                "call kvmbpf_irq() for it, or give fewer .irqs",
            )
    if raised and not count:
        yield Finding(
            Severity.WARNING,
            Rule.IRQ_NOT_THERE,
            f"function {raised[0]}",
            "an interrupt is raised, and the device has no irqs: it fails with ENOENT",
            "give KVMBPF_DEVICE .irqs",
            line_of(device, uses.kfuncs[raised[0]][0]),
        )


def check_regions(device: DeviceObject) -> Iterator[Finding]:
    """A program that serves several regions asks which one it is.

    The compiler leaves out what a body does not use; so a body that looks at
    the offset and not at the region takes an access to one for another's.
    """
    if device.btf_ext is None:
        return
    served: dict[str, list[RegionSpec]] = {}
    for region in device.spec.regions:
        for name in (region.read_program, region.write_program):
            served.setdefault(name, []).append(region)
    for name, regions in served.items():
        if len(regions) < 2:
            continue
        types = core_types(device, device.code.uses([name]))
        if "kvm_bpf_access.offset" in types and "kvm_bpf_access.region" not in types:
            yield Finding(
                Severity.WARNING,
                Rule.REGIONS_ALIKE,
                f"program {name}",
                f"it serves {len(regions)} regions and never asks which one it is: "
                f"regions {regions[1].index} and up answer as region {regions[0].index} does",
                "look at acc->region, or make it one region",
            )


def check_compatible(device: DeviceObject) -> Iterator[Finding]:
    """What a device is compatible with first is its maker's name for it."""
    first = device.spec.compatible[0]
    if "," not in first:
        yield Finding(
            Severity.WARNING,
            Rule.COMPATIBLE,
            "compatible",
            f'"{first}" has no vendor before it, as in "acme,{first}"',
            "put a name with the maker's own prefix first, and this one behind it",
        )


def check_entries(device: DeviceObject) -> Iterator[Finding]:
    """Without programs for a call there is nothing for a stock kernel."""
    without = [r.index for r in device.spec.regions if not r.call_read_program]
    if without:
        yield Finding(
            Severity.NOTE,
            Rule.PATCHED_KERNEL_ONLY,
            f"region {without[0]}",
            "no program of the call entry serves it: the device works on a patched kernel only",
            "define the bodies with KVMBPF_READ() and KVMBPF_WRITE(), which make both",
        )


def check_maps(device: DeviceObject) -> Iterator[Finding]:
    """A map that nothing refers to takes memory for nothing."""
    used = device.code.uses(program.name for program in device.programs).variables
    for item in device.maps:
        if item.type == "struct_ops" or item.section.startswith(".struct_ops"):
            continue
        if item.name not in used and not item.name.startswith(_OWN_MAPS):
            yield Finding(
                Severity.NOTE,
                Rule.MAP_NOT_USED,
                f"map {item.name}",
                "no program refers to it, and it is made all the same",
                "take it away",
            )


def check_properties(device: DeviceObject) -> Iterator[Finding]:
    """Properties that do not fit each other, or the device."""
    properties = {item.name: item for item in device.spec.properties}
    yield from _interrupt_controller(properties, len(device.spec.irqs))
    status = properties.get("status")
    if status is not None and _strings(status) not in (["okay"], ["ok"]):
        yield _property("status", f"{_one_line(status.value)}: a guest leaves such a device alone")
    for name, count, what in (
        ("interrupt-names", len(device.spec.irqs), "irqs"),
        ("reg-names", len(device.spec.regions), "regions"),
    ):
        if name in properties:
            names = _strings(properties[name])
            if names is None or len(names) != count:
                found = "no strings" if names is None else f"{len(names)} names"
                yield _property(name, f"{found} for {count} {what}")


def _interrupt_controller(properties: dict[str, PropertySpec], irqs: int) -> Iterator[Finding]:
    cells, controller = "#interrupt-cells", "interrupt-controller"
    for one, other in ((cells, controller), (controller, cells)):
        if one in properties and other not in properties:
            yield _property(one, f"{one} without {other}: they come together")
    if cells in properties and not irqs:
        yield _property(cells, "an interrupt controller that has no interrupt of its own to raise")


def _property(name: str, sentence: str) -> Finding:
    return Finding(
        Severity.WARNING,
        Rule.PROPERTY,
        f"property {name}",
        sentence,
        "mend the KVMBPF_PROPERTY, or what it is about in KVMBPF_DEVICE",
    )


def _strings(item: PropertySpec) -> list[str] | None:
    """Return the strings that a value is, or None when it is anything else."""
    value = parse_value(item.value)
    if len(value) != 1 or not isinstance(value[0], Strings):
        return None
    return [text.decode(errors="replace") for text in value[0].values]


def _one_line(text: str) -> str:
    return " ".join(text.split()) or "no value"


CHECKS: tuple[Callable[[DeviceObject], Iterator[Finding]], ...] = (
    check_irqs,
    check_regions,
    check_compatible,
    check_entries,
    check_maps,
    check_properties,
)
