# SPDX-License-Identifier: GPL-2.0-or-later
"""Start a stock QEMU with devices attached, and stay until it ends.

QEMU starts stopped (-S). The devices are attached to the VM that it made, an
ACPI table or a device tree tells the guest of them, and then it may run. If
this process is killed the guest and its devices go on.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from kvmbpf.errors import PlacementError
from kvmbpf.firmware import to_dtb, to_ssdt
from kvmbpf.manager.devices import attach
from kvmbpf.manager.record import DeviceRecord
from kvmbpf.manager.store import Store, check_name
from kvmbpf.placement import Firmware, MachineProfile, Placed
from qemu_glue.dtb import loadable_dtb
from qemu_glue.launch import QemuProcess
from qemu_glue.runtime import RuntimeDir


def run(
    store: Store,
    devices: Sequence[tuple[Path, Placed]],
    command: Sequence[str],
    profile: MachineProfile,
    *,
    vm: str | None = None,
    report: Callable[[DeviceRecord], None],
) -> int:
    """Run a QEMU command line with devices attached.

    :param devices: object files, and the place of each one's device.
    :param command: QEMU and its arguments, with KVM on; -S, a QMP socket and
        the firmware's description are added.
    :param profile: of the machine that the command line names.
    :param vm: a name for the VM; ``pid<N>`` when None.
    :param report: called with each device that was attached.
    :return: QEMU's exit status, or 128 + N if signal N ended it.
    :raise VmmError: when QEMU does not start.
    """
    with RuntimeDir() as runtime:
        told = firmware_arguments(devices, profile, runtime.path, _kernel_of(command))
        arguments = [*command[1:], *told]
        with QemuProcess(arguments, runtime, program=command[0], inherit_stdio=True) as qemu:
            name = check_name("VM", vm or f"pid{qemu.pid}")
            with qemu.connect() as qmp:
                for path, placed in devices:
                    report(attach(store, path, placed, pid=qemu.pid, vm=name))
                qmp.execute("cont")
                status = qemu.wait(None)
    store.sweep_all()
    return status if status >= 0 else 128 - status


def firmware_arguments(
    devices: Sequence[tuple[Path, Placed]],
    profile: MachineProfile,
    directory: Path,
    kernel: Path | None,
) -> list[str]:
    """Write what tells the guest of the devices; return QEMU's arguments for it.

    :param directory: where the file goes.
    :param kernel: the guest's, if QEMU is given one.
    :raise PlacementError: when the machine cannot tell of a device's interrupts,
        or of any device without a kernel.
    """
    placed = [device for _, device in devices]
    if profile.firmware is Firmware.ACPI:
        table = directory / "ssdt.aml"
        table.write_bytes(to_ssdt(placed))
        return ["-acpitable", f"file={table}"]
    for device in placed:
        if device.irqs and not profile.firmware_irqs:
            raise PlacementError(
                f"device {device.spec.name} has interrupts, of which stock QEMU's "
                f"{profile.name} cannot tell the guest: use q35"
            )
    if kernel is None:
        raise PlacementError(
            f"stock QEMU's {profile.name} tells a guest of devices only together with -kernel"
        )
    tree = directory / "devices.dtb"
    tree.write_bytes(loadable_dtb(to_dtb(placed), kernel))
    return ["-dtb", str(tree)]


def _kernel_of(command: Sequence[str]) -> Path | None:
    """Return the kernel that a QEMU command line names."""
    for option, value in itertools.pairwise(command):
        if option in ("-kernel", "--kernel"):
            return Path(value)
    return None
