# SPDX-License-Identifier: GPL-2.0-or-later
"""``kvmbpf dt``: devices as nodes of a device tree.

Reads object files only: no privilege, no libbpf, no QEMU.
"""

from __future__ import annotations

from pathlib import Path

import click

from kvmbpf.cli.firmware import Request, asks
from kvmbpf.errors import BadFileError
from kvmbpf.mends import explain
from kvmbpf.model.firmware import Base, to_dtb, to_dts
from kvmbpf.model.irqchip import microvm_note
from kvmbpf.model.placement import MICROVM, PROFILES, Firmware, MachineProfile

# QEMU's arm64 machine, whose tree is --base. Free in `info mtree` without
# -device of a platform device: the platform bus, and its interrupts.
# Source: base_memmap and a15irqmap in QEMU's hw/arm/virt.c.
_VIRT = MachineProfile(
    name="virt",
    window_gpa=0x0C000000,
    window_bytes=0x02000000,
    window_port=0,
    window_ports=0,
    gsis=tuple(range(112, 112 + 64)),
    gsi_end=988,  # shared peripheral interrupts of a GIC
    firmware=Firmware.DEVICE_TREE,
    firmware_irqs=True,
)
_MACHINES = {**PROFILES, _VIRT.name: _VIRT}


@click.command(name="dt")
@asks(_MACHINES, {".dts": "dts", ".dtb": "dtb"}, "Text or binary.")
@click.option(
    "--base",
    metavar="DTB",
    type=click.Path(path_type=Path),
    help="The tree to put the nodes into; without one they make a tree of their own.",
)
@click.option(
    "--parent",
    metavar="NODE",
    help="The bus in it, by path or label.  [default: the one whose window it is, else /]",
)
@click.option(
    "--interrupt-parent",
    metavar="NODE",
    help="The interrupt controller in it, by path or label.  [default: that of the parent]",
)
def dt_command(
    request: Request, base: Path | None, parent: str | None, interrupt_parent: str | None
) -> None:
    """Print the device-tree nodes of the devices in FILE...

    \b
    An arm64 guest's tree, with a device in it:
      qemu-system-aarch64 -M virt,dumpdtb=virt.dtb -m 512
      kvmbpf dt --machine virt --base virt.dtb -o guest.dtb mydev.bpf.o
      qemu-system-aarch64 -M virt -m 512 -dtb guest.dtb ...

    \b
    A node to look at:
      kvmbpf dt --at 0xfef00000 --gsi 5 mydev.bpf.o

    Without --base the nodes have no interrupts: there is no controller that
    they could name. For the arm64 machine virt, a gsi is the number of an SPI.
    """  # noqa: D301 (\b is click's mark for text that is not to be wrapped)
    if base is None and (parent or interrupt_parent):
        raise click.UsageError("--parent and --interrupt-parent are nodes of --base")
    placed = request.place()
    if request.profile is MICROVM:
        for note in filter(None, map(microvm_note, placed)):
            click.echo(f"kvmbpf: note: {note}", err=True)
    tree = None
    if base is not None:
        tree = Base(_read_base(base), str(base), parent, interrupt_parent)
    content = to_dtb(placed, tree) if request.form == "dtb" else to_dts(placed, tree)
    request.emit(content, "dts")


def _read_base(file: Path, limit_bytes: int = 16 << 20) -> bytes:
    """Return a file's content, or somewhat more of it than a device tree can be.

    :raise BadFileError: when it cannot be read.
    """
    try:
        with file.open("rb") as opened:
            return opened.read(limit_bytes + 1)
    except OSError as error:
        raise BadFileError(file, f"cannot be read: {explain(error)}") from error
