# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel backend: KVM runs the programs, inside the exit.

The device's place becomes attributes of a BPF device of the VM, its programs a
struct_ops map, and their connection a bpf_link, which is all that remains when
this process ends.
"""

from __future__ import annotations

import errno
from pathlib import Path

from kvmbpf.errors import BadFileError, KernelCallError, UnsupportedError
from kvmbpf.kernel.kvm import KvmDevice, Vm
from kvmbpf.kernel.libbpf import BpfLink, BpfObject, BpfProgram, StructOps
from kvmbpf.kernel.uapi import bpf as bpf_uapi
from kvmbpf.kernel.uapi import kvm as uapi
from kvmbpf.kernel.uapi.kvmbpf import KERNEL_RESET
from kvmbpf.model.irqchip import without_controller
from kvmbpf.model.objfile.needs import CodeMap
from kvmbpf.model.placement import Placed
from kvmbpf.model.spec import Bus, DeviceSpec, Trigger

NAME = "kernel"
# Why it is this one, for whoever asks.
REASON = "this host's KVM has devices of type KVM_DEV_TYPE_BPF"
# The variable that KVMBPF_DEVICE() declares in section .struct_ops.link.
OPS_MAP = "kvmbpf_ops"


def open_object(path: str | Path, code: CodeMap | None = None) -> BpfObject:
    """Open a device's object, to be loaded for KVM; the caller owns it.

    Programs that KVM does not enter are left out: nothing would ever run them.

    :param code: what its programs refer to, where the caller has read that already.
    :raise BadFileError: when it cannot be read, libbpf does not take it, or it has a table
        of programs.
    :raise UnsupportedError: when libbpf is missing or too old.
    """
    opened = BpfObject.open(path)
    try:
        _refuse_program_tables(opened)
        for program in opened.programs.values():  # libbpf would load every one
            if not program.section.startswith("struct_ops"):
                program.autoload = False
        opened.use_kernel_entries(code)
    except BaseException:
        opened.close()
        raise
    return opened


def _refuse_program_tables(opened: BpfObject) -> None:
    """Refuse a map of programs: to load the next version would change this one's.

    libbpf fills it at a load, also one that is carried over and in use, or only tried.
    And the kernel empties it when the last process that has it open ends.
    """
    for found in opened.maps.values():
        if found.type == bpf_uapi.BPF_MAP_TYPE_PROG_ARRAY:
            raise BadFileError(
                opened.path,
                f"map `{found.name}` is a table of programs, for tail calls, which a device "
                "cannot have: call functions instead (`static` or __noinline)",
            )


def create_device(vm: Vm, placed: Placed, option: str | None = None) -> KvmDevice:
    """Create a device in a VM and say where it is; the caller owns it.

    :param vm: the VM, of this process or borrowed.
    :param placed: the device and its place.
    :param option: of QEMU's, that has all interrupt controllers in KVM, or None.
    :raise UnsupportedError: when the running kernel has no BPF device, or none
        with port regions or irqs where the device has one; or the VM no interrupt
        controller in KVM.
    :raise KernelCallError: when KVM refuses the place.
    """
    _check_ports(vm, placed.spec)
    device = vm.create_bpf_device()
    try:
        for region, base in zip(placed.spec.regions, placed.regions, strict=True):
            device.set_region(region.index, base, region.size, bus=region.bus.value)
        _set_irqs(device, placed, option)
    except BaseException:
        device.close()
        raise
    return device


def _set_irqs(device: KvmDevice, placed: Placed, option: str | None) -> None:
    try:
        for irq, gsi in zip(placed.spec.irqs, placed.irqs, strict=True):
            device.set_irq(irq.index, gsi, level=irq.trigger is Trigger.LEVEL)
    except KernelCallError as error:
        if error.errno == errno.EAGAIN:
            raise without_controller(placed.spec.name, option) from error
        if error.errno == errno.ENXIO:
            raise UnsupportedError(
                "KVM_DEV_BPF_IRQ",
                found="a kernel whose BPF devices have no such interrupt",
                needed="one with all of the series of kernel_patches/",
                mend="boot such a kernel, or give the device fewer irqs",
            ) from error
        raise


def supports_ports(vm: Vm) -> bool:
    """Tell whether the running kernel's BPF devices can have port regions.

    :raise UnsupportedError: when it has no BPF device at all.
    :raise KernelCallError: when KVM refuses for another reason.
    """
    with vm.create_bpf_device() as device:
        try:
            device.set_region(0, 0, 1, bus=uapi.KVM_BPF_BUS_PIO)
        except KernelCallError as error:
            if error.errno == errno.EINVAL:  # no such bus: the range is a good one
                return False
            raise
    return True


def _check_ports(vm: Vm, spec: DeviceSpec) -> None:
    if any(region.bus is Bus.PIO for region in spec.regions) and not supports_ports(vm):
        raise UnsupportedError(
            "KVM_BPF_BUS_PIO",
            found="a kernel whose BPF devices have no ports",
            needed="one with all of the series of kernel_patches/",
            mend="boot such a kernel, or use MMIO regions",
        )


def attach(device: KvmDevice, spec: DeviceSpec, loaded: BpfObject) -> BpfLink:
    """Attach a loaded object's programs to a device; the caller owns the link.

    The link outlives both: close `device` and `loaded` afterwards.

    :raise KernelCallError: EEXIST when the device's place is taken.
    """
    ops = StructOps(loaded, OPS_MAP)
    ops.prepare(_programs(spec, loaded), device_fd=device.fileno())
    return ops.attach()


def prepare_replacement(spec: DeviceSpec, loaded: BpfObject) -> StructOps:
    """Get a loaded object's programs ready for `BpfLink.update`, without a device."""
    ops = StructOps(loaded, OPS_MAP)
    ops.prepare(_programs(spec, loaded), device_fd=0)
    return ops


def _programs(spec: DeviceSpec, loaded: BpfObject) -> dict[str, BpfProgram]:
    """Return the programs that the notes name, by member of struct kvm_bpf_ops."""
    served_by = {(region.read_program, region.write_program) for region in spec.regions}
    if len(served_by) != 1:
        raise BadFileError(
            loaded.path, "its regions name different programs: one pair serves all of a device"
        )
    read, write = served_by.pop()
    programs = {"read": loaded.program(read), "write": loaded.program(write)}
    if spec.resets:
        programs["reset"] = loaded.program(KERNEL_RESET)
    return programs
