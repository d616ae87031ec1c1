# SPDX-License-Identifier: GPL-2.0-or-later
"""Types that the kernel refuses: with them the object does not load at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kvmbpf.model.check.finding import Finding, Rule, Severity, line_of
from kvmbpf.model.objfile import DeviceObject
from kvmbpf.model.objfile.btfrules import Fault, refused


def check_btf(device: DeviceObject) -> Iterator[Finding]:
    """The kernel takes an object's types whole or not at all."""
    if device.btf is None:
        return
    uses = None
    for item in refused(device.btf, device.elf):
        if item.fault is Fault.TOO_MANY:
            sentence = f"{item.place} {item.fault.words}"
            yield Finding(Severity.NOTE, Rule.BTF, item.place, sentence, item.fault.mend)
            return
        uses = uses or device.code.uses(program.name for program in device.programs)
        places = uses.variables.get(item.name, [])
        yield Finding(
            Severity.ERROR,
            Rule.BTF,
            item.place,
            f"{item.place} {item.fault.words}: the kernel refuses the object's types "
            f"({item.fault.kernel})",
            item.fault.mend,
            line_of(device, places[0]) if places else None,
        )


CHECKS: tuple[Callable[[DeviceObject], Iterator[Finding]], ...] = (check_btf,)
