# SPDX-License-Identifier: GPL-2.0-or-later
"""What a running QEMU is, and what it has where: asked over QMP.

It has no query for its memory map or its devices' interrupts, so two commands
of the human monitor are read; see `qemu_glue.mtree` and `qemu_glue.qtree`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kvmbpf.errors import VmmError
from kvmbpf.model.placement import Extent, Occupied
from qemu_glue.irqs import irqs_in_use
from qemu_glue.mtree import MEMORY, PORTS, Kind, Range, parse_mtree, ranges_of
from qemu_glue.qmp import QmpSession
from qemu_glue.qtree import parse_qtree

_SUFFIX = "-machine"


@dataclass(frozen=True, slots=True)
class RunningQemu:
    """A running QEMU.

    :param version: as ``7.2.22``.
    :param machine: as ``pc-q35-7.2``.
    :param kvm: whether KVM runs it.
    """

    version: str
    machine: str
    kvm: bool


def ask_what_it_is(qmp: QmpSession) -> RunningQemu:
    """Return what a QEMU is.

    :raise VmmError: when it does not answer.
    """
    version = qmp.execute("query-version")["qemu"]
    machine = str(qmp.execute("qom-get", path="/machine", property="type"))
    return RunningQemu(
        version=f"{version['major']}.{version['minor']}.{version['micro']}",
        machine=machine.removesuffix(_SUFFIX),
        kvm=bool(qmp.execute("query-kvm")["enabled"]),
    )


def ask_what_it_has(qmp: QmpSession) -> Occupied:
    """Return what a QEMU has on its buses, and which interrupts.

    :raise VmmError: when it does not answer, or its answer is not understood.
    """
    views = parse_mtree(qmp.hmp("info mtree -f"))
    devices = parse_qtree(qmp.hmp("info qtree"))
    if not devices:
        raise VmmError("info qtree: no device in it")
    gsis = irqs_in_use(devices, qmp.execute("query-pci"))
    return Occupied(
        memory=_extents(ranges_of(views, MEMORY)),
        ports=_extents(ranges_of(views, PORTS)),
        gsis={gsi: f"QEMU's {name}" for gsi, name in gsis.items()},
    )


def _extents(ranges: Iterable[Range]) -> tuple[Extent, ...]:
    return tuple(Extent(one.start, one.last + 1, _owner(one)) for one in ranges)


def _owner(one: Range) -> str:
    kind = "" if one.kind is Kind.DEVICE else f"{one.kind.value} "
    return f"QEMU's {kind}{one.name}"
