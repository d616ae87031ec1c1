# SPDX-License-Identifier: GPL-2.0-or-later
"""Attach, update, detach and list.

Each step is ordered so that a manager that dies in the middle leaves either
the old state or the new one, and at most pins that the next command sweeps
away: the link is pinned last and unpinned first, and a record is written
before what it describes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from kvmbpf.errors import BadFileError, LayoutError, StateError
from kvmbpf.kernel.kvm import borrow_vm
from kvmbpf.kernel.libbpf import (
    BpfLink,
    BpfMap,
    BpfObject,
    Carried,
    LinkInfo,
    carry_over,
    state_name,
)
from kvmbpf.kernel.libbpf.object_map import ObjectMap
from kvmbpf.kernel.process import LivingProcess, ProcessId
from kvmbpf.kernel.rights import require
from kvmbpf.manager.backends import kernel
from kvmbpf.manager.irqchip import Controller, find_controller
from kvmbpf.manager.limits import set_limits
from kvmbpf.manager.record import DeviceRecord, IrqRecord, Limits, ObjectVersion, RegionRecord
from kvmbpf.manager.store import DevicePins, Store, state_of
from kvmbpf.model.objfile import read_object
from kvmbpf.model.placement import Placed
from kvmbpf.model.spec import DeviceSpec
from kvmbpf.model.vm_name import check_vm_name, home_of, name_of_home, shown


class UpdateStep(enum.Enum):
    """What an update does, one after the other; it opens the object in two parts."""

    OPEN = "open"  # read the object file, and have libbpf open it
    FIND = "find"  # the device, its lock, its link, its record
    STATE = "state"  # compare it, and have it carried over
    LOAD = "load"  # libbpf, the verifier, the kernel's compiler
    RECORD = "record"  # write down what is about to change
    SWAP = "swap"
    TIDY = "tidy"  # remove what only the old one had, close all


class NotAttachedError(StateError):
    """There is a record of a device, and no link."""


@dataclass(frozen=True)
class DeviceStatus:
    """A device as it is now.

    :param record: where it is, and since when it says so.
    :param version: the object that answers; None if an unknown one does.
    :param attached: whether it is attached: False when the VM has gone.
    :param link_id: the kernel's id of its link (C ``__u32``).
    :param map_id: of the struct_ops map that answers (C ``__u32``), 0 when none does.
    """

    record: DeviceRecord
    version: ObjectVersion | None
    attached: bool
    link_id: int
    map_id: int

    @classmethod
    def of(cls, record: DeviceRecord, link: LinkInfo) -> Self:
        """Put together what the record and the link say."""
        version = record.attached(link.map_id)
        return cls(record, version, not link.defunct, link.id, link.map_id)


@dataclass(frozen=True)
class Detached:
    """A device that was taken away.

    :param pid: of the VMM, or None where it was not known.
    """

    vm: str
    device: str
    pid: int | None


@dataclass(frozen=True)
class Update:
    """What an update has done, or would do.

    :param record: the device as it is now.
    :param version: the new object; its map_id is 0 when nothing was changed.
    :param carried: what becomes of the state.
    :param applied: False when it was only tried.
    """

    record: DeviceRecord
    version: ObjectVersion
    carried: Carried
    applied: bool


def attach(
    store: Store,
    path: Path,
    placed: Placed,
    *,
    pid: int,
    vm: str,
    vm_fd: int | None = None,
    limits: Limits | None = None,
    controller: Controller | None = None,
    start_ticks: int | None = None,
) -> DeviceRecord:
    """Attach a device to a running VM.

    :param path: the object file.
    :param placed: its device, and its place in the guest.
    :param pid: of the VMM.
    :param vm: a name for the VM; another VM may have it too.
    :param vm_fd: which of the VMM's descriptors (C ``int``), where it has several VMs.
    :param limits: what its programs may cost; None for no limits.
    :param controller: where the VM has its interrupt controllers; None finds out.
    :param start_ticks: when the VMM started, as `kvmbpf.kernel.process` has it, where
        its number was found some time ago.
    :raise StateError: when the VM has a device of that name, another manager is
        changing it, or the VMM has ended.
    :raise UnsupportedError: when the device's interrupts do not work with those.
    :raise PlacementError: when one of them leads to no pin.
    :raise VerifierError: when the kernel refuses the programs.
    :raise KernelCallError: EEXIST when the device's place is taken.
    """
    spec = placed.spec
    limits = limits or Limits()
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(LivingProcess(pid, start_ticks))
        home = stack.enter_context(_own_home(store, check_vm_name(vm), process.id))
        _check_is_new(store, home, vm, spec.name)
        borrowed = stack.enter_context(borrow_vm(pid, vm_fd))
        _check_lives(process)  # and so it was this one's
        if spec.irqs:
            controller = controller or find_controller(borrowed, pid)
            controller.check(placed)
        option = controller.option if controller is not None else None
        loaded = stack.enter_context(kernel.open_object(path))
        device = stack.enter_context(kernel.create_device(borrowed, placed, option))
        if limits != Limits():  # none is what it begins with, also where the series has none
            set_limits(device, limits)
        loaded.load()

        pins = store.pins(home, spec.name)
        names = {state: state for state in _state_maps(loaded)}
        record = _record(
            placed,
            vm=vm,
            home=home,
            process=process.id,
            version=_version(path, loaded, names),
            limits=limits,
            device_id=int(device.info().id),
        )
        try:
            pins.make()
            _pin_state(pins, loaded, names)
            store.write(record)
            with kernel.attach(device, spec, loaded) as link:
                link.pin(pins.link)
        except BaseException:
            store.forget(home, spec.name)
            raise
        return record


def update(
    store: Store,
    path: Path,
    *,
    vm: str | None = None,
    pid: int | None = None,
    dry_run: bool = False,
    begins: Callable[[UpdateStep], object] = lambda _: None,
) -> Update:
    """Replace the programs of an attached device; its state is kept.

    :param path: the new object file; its device's name says which device.
    :param vm: the VM's name; None where the device's is unique.
    :param pid: of its VMM, where VMs of one name have the device; None for any.
    :param dry_run: load and compare all, but change nothing.
    :param begins: called with each step as it begins.
    :return: the device as it is now, and what became of its state.
    :raise StateError: when no such device is attached, or the new object is
        of another device.
    :raise LayoutError: when the state cannot be carried over; nothing changed.
    :raise VerifierError: when the kernel refuses the programs; nothing changed.
    """
    begins(UpdateStep.OPEN)
    found = read_object(path)
    spec = found.spec
    begins(UpdateStep.FIND)
    store.sweep_all()
    home = store.find(spec.name, vm, pid)
    with store.lock(home), contextlib.ExitStack() as stack:
        store.sweep(home)
        pins = store.pins(home, spec.name)
        link = stack.enter_context(open_link(pins))
        record = store.read(home, spec.name)
        _check_same_device(record, spec, path)
        _check_state_is_there(record, link, pins)
        require("kvmbpf update", "CAP_SYS_ADMIN")  # to compare the types of the state
        begins(UpdateStep.OPEN)
        loaded = stack.enter_context(kernel.open_object(path, found.code))
        begins(UpdateStep.STATE)
        carried = _carry_over(loaded, pins.open_maps(stack), verify=dry_run)
        begins(UpdateStep.LOAD)
        loaded.load()
        begins(UpdateStep.RECORD)
        names = _names_after(pins, loaded, carried)
        version = _version(path, loaded, names)
        if dry_run:
            version = dataclasses.replace(version, map_id=0)
            return Update(record, version, carried, applied=False)

        ops = kernel.prepare_replacement(spec, loaded)
        # From here on whoever comes next finishes it, one way or the other.
        store.write(dataclasses.replace(record, versions=(*record.versions, version)))
        _pin_state(pins, loaded, {state: names[state] for state in carried.new if state in names})
        begins(UpdateStep.SWAP)
        link.update(ops.map)
        begins(UpdateStep.TIDY)
        store.sweep(home)
        return Update(
            dataclasses.replace(record, versions=(version,)), version, carried, applied=True
        )


def detach(store: Store, device: str, *, vm: str | None = None, pid: int | None = None) -> Detached:
    """Take a device away: the guest's next access goes to the VMM.

    Works also where the device's record is lost, or another kvmbpf's, or its pin no link.

    :param vm: the VM's name; None where the device's is unique.
    :param pid: of its VMM, where VMs of one name have the device; None for any.
    :raise StateError: when no such device is attached.
    """
    store.sweep_all()
    return detach_at(store, store.find(device, vm, pid), device)


def detach_at(store: Store, home: str, device: str) -> Detached:
    """Take away the device of a VM's home.

    :raise StateError: when it is not attached.
    """
    with store.lock(home):
        name, pid = store.name_of(home), None
        with contextlib.suppress(BadFileError):
            record = store.read(home, device)
            name, pid = record.vm, record.pid
        # Something else in the link's place attaches nothing, and goes with the rest.
        with contextlib.suppress(BadFileError), open_link(store.pins(home, device)) as link:
            link.detach()
        store.forget(home, device)
        return Detached(name, device, pid)


def find_device(
    store: Store, device: str, vm: str | None = None, pid: int | None = None
) -> DeviceStatus:
    """Return an attached device, after sweeping what is left of others.

    :param vm: the VM's name; None where the device's is unique.
    :param pid: of its VMM, where VMs of one name have the device; None for any.
    :raise StateError: when it is not attached, or in several VMs.
    """
    store.sweep_all()
    return status(store, store.find(device, vm, pid), device)


def status(store: Store, home: str, device: str) -> DeviceStatus:
    """Return a device as it is now, without sweeping.

    :param home: of its VM.
    :raise StateError: when it is not attached.
    :raise BadFileError: when its record is missing, or is none.
    """
    with open_link(store.pins(home, device)) as link:
        info = link.info()
    return DeviceStatus.of(store.read(home, device), info)


def open_link(pins: DevicePins) -> BpfLink:
    """Open an attached device's link; the caller closes it.

    :raise StateError: when it is not attached.
    """
    link = pins.open_link()
    if link is None:
        directory = pins.directory
        home = directory.parent.name
        raise NotAttachedError(
            f"device {directory.name} of VM {shown(name_of_home(home) or home)} "
            "is not attached any more"
        )
    return link


@contextlib.contextmanager
def _own_home(store: Store, vm: str, process: ProcessId) -> Iterator[str]:
    """Hold the lock of a VM's home, and give it; swept, so that no dead VM has its name."""
    first = home_of(vm)
    with store.lock(first):
        store.sweep(first)
        home = store.home_for(vm, process)
        if home == first:
            yield home
            return
    with store.lock(home):
        store.sweep(home)
        yield home


def _check_is_new(store: Store, home: str, vm: str, device: str) -> None:
    if device in store.devices(home):
        raise StateError(
            f"VM {shown(vm)} has a device {device} already: update it, or detach it first"
        )


def _check_lives(process: LivingProcess) -> None:
    if not process.lives():
        raise StateError(f"process {process.pid} has ended")


def _check_same_device(record: DeviceRecord, spec: DeviceSpec, path: Path) -> None:
    difference = record.difference(spec)
    if difference is not None:
        raise StateError(f"{path}: not a version of the attached device: {difference}")
    if spec.version != record.state_version:
        raise LayoutError(
            f"{path}: its state is version {spec.version}, "
            f"the attached device's is version {record.state_version}"
        )


def _check_state_is_there(record: DeviceRecord, link: BpfLink, pins: DevicePins) -> None:
    """Refuse to go on without state that somebody has taken the pin of: it would begin anew."""
    version = record.attached(link.info().map_id)
    lost = pins.lost(version.maps) if version is not None else []
    if lost:
        raise StateError(
            f"device {record.device} of VM {shown(record.vm)}: the pin of its state {lost[0]} was "
            f"removed from {pins.maps}: its values cannot be carried over; detach the device, "
            "and attach the new object"
        )


def _carry_over(loaded: BpfObject, old: Mapping[str, BpfMap], *, verify: bool) -> Carried:
    """Carry the state over to an object that is to be loaded.

    :param verify: have the object loaded also where its state cannot be carried
        over, so that the verifier's refusal is told first.
    """
    try:
        return carry_over(loaded, old)
    except LayoutError:
        if verify:
            loaded.load()
        raise


def _names_after(pins: DevicePins, loaded: BpfObject, carried: Carried) -> dict[str, str]:
    """Return the pins' names of a new object's state, by state; swept before."""
    present = {state_of(name): name for name in pins.map_names()}
    return {
        state: present[state] if state in carried.carried else pins.free_name(state)
        for state in _state_maps(loaded)
    }


def _record(
    placed: Placed,
    *,
    vm: str,
    home: str,
    process: ProcessId,
    version: ObjectVersion,
    limits: Limits,
    device_id: int,
) -> DeviceRecord:
    spec = placed.spec
    return DeviceRecord(
        vm=vm,
        home=home,
        device=spec.name,
        pid=process.pid,
        start_ticks=process.start_ticks,
        backend=kernel.NAME,
        compatible=spec.compatible,
        state_version=spec.version,
        regions=tuple(
            RegionRecord(base, region.size, region.bus.name.lower())
            for region, base in zip(spec.regions, placed.regions, strict=True)
        ),
        irqs=tuple(
            IrqRecord(gsi, irq.trigger.value)
            for irq, gsi in zip(spec.irqs, placed.irqs, strict=True)
        ),
        versions=(version,),
        limits=limits,
        attached_s=version.loaded_s,
        device_id=device_id,
        manager=os.getpid(),
        reason=kernel.REASON,
        concurrent=spec.concurrent,
    )


def _version(path: Path, loaded: BpfObject, names: Mapping[str, str]) -> ObjectVersion:
    """Describe what was just loaded, by a path that any later process can follow."""
    return ObjectVersion(
        map_id=loaded.map(kernel.OPS_MAP).id,
        path=str(path.resolve()),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        maps=tuple(sorted(names.values())),
        loaded_s=round(time.time(), 3),
    )


def _state_maps(loaded: BpfObject) -> dict[str, ObjectMap]:
    """Return the maps that hold state, by the state's name."""
    names = {name: state_name(name, found) for name, found in loaded.maps.items()}
    return {
        state: loaded.maps[name]
        for name, state in names.items()
        if state is not None and loaded.maps[name].loaded
    }


def _pin_state(pins: DevicePins, loaded: BpfObject, names: Mapping[str, str]) -> None:
    """Pin state; `names` says which, and each one's pin's name."""
    maps = _state_maps(loaded)
    for state, name in names.items():
        pins.pin_map(name, maps[state])
