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
import hashlib
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.backends import kernel
from kvmbpf.errors import BadFileError, LayoutError, StateError
from kvmbpf.kvm import borrow_vm
from kvmbpf.libbpf import BpfLink, BpfObject, Carried, Value, carry_over, state_name
from kvmbpf.manager.record import DeviceRecord, IrqRecord, ObjectVersion, RegionRecord
from kvmbpf.manager.store import DevicePins, Store
from kvmbpf.objfile import read_device
from kvmbpf.placement import Placed

State = dict[str, Value]


class _NotAttachedError(StateError):
    """There is a record of a device, and no link."""


@dataclass(frozen=True)
class DeviceStatus:
    """A device as it is now.

    :param record: where it is, and since when it says so.
    :param version: the object that answers; None if an unknown one does.
    :param attached: whether it is attached: False when the VM has gone.
    """

    record: DeviceRecord
    version: ObjectVersion | None
    attached: bool


def attach(store: Store, path: Path, placed: Placed, *, pid: int, vm: str) -> DeviceRecord:
    """Attach a device to a running VM.

    :param path: the object file.
    :param placed: its device, and its place in the guest.
    :param pid: of the VMM.
    :param vm: a name for the VM.
    :raise StateError: when the VM has a device of that name, or another
        manager is changing it.
    :raise VerifierError: when the kernel refuses the programs.
    :raise KernelCallError: EEXIST when the device's place is taken.
    """
    spec = placed.spec
    with store.lock(vm), contextlib.ExitStack() as stack:
        store.sweep(vm)
        for other in store.devices(vm):
            if other == spec.name:
                raise StateError(
                    f"VM {vm} has a device {spec.name} already: update it, or detach it first"
                )
            if (owner := store.read(vm, other).pid) != pid:
                raise StateError(f"VM {vm} is process {owner}, not {pid}: choose another name")

        borrowed = stack.enter_context(borrow_vm(pid))
        loaded = stack.enter_context(kernel.open_object(path))
        device = stack.enter_context(kernel.create_device(borrowed, placed))
        loaded.load()

        record = _record(placed, vm=vm, pid=pid, version=_version(path, loaded))
        pins = store.pins(vm, spec.name)
        try:
            pins.make()
            _pin_state(pins, loaded)
            store.write(record)
            with kernel.attach(device, spec, loaded) as link:
                link.pin(pins.link)
        except BaseException:
            store.forget(vm, spec.name)
            raise
        return record


def update(store: Store, path: Path, *, vm: str | None = None) -> tuple[DeviceRecord, Carried]:
    """Replace the programs of an attached device; its state is kept.

    :param path: the new object file; its device's name says which device.
    :param vm: the VM's name; None where the device's is unique.
    :return: the device as it is now, and what became of its state.
    :raise StateError: when no such device is attached, or the new object is
        of another device.
    :raise LayoutError: when the state cannot be carried over; nothing changed.
    :raise VerifierError: when the kernel refuses the programs; nothing changed.
    """
    spec = read_device(path)
    store.sweep_all()
    vm = store.find(spec.name, vm)
    with store.lock(vm), contextlib.ExitStack() as stack:
        pins = store.pins(vm, spec.name)
        link = stack.enter_context(_open_link(pins))
        record = store.read(vm, spec.name)
        _check_same_device(record, path)
        loaded = stack.enter_context(kernel.open_object(path))
        carried = carry_over(loaded, pins.open_maps(stack))
        loaded.load()
        ops = kernel.prepare_replacement(spec, loaded)

        version = _version(path, loaded)
        now = record.attached(link.info().map_id)
        store.write(dataclasses.replace(record, versions=(*filter(None, [now]), version)))
        for name in carried.new:
            pins.unpin_map(name)  # of an update that died before its switch
        _pin_state(pins, loaded, only=carried.new)
        link.update(ops.map)

        for name in carried.dropped:
            pins.unpin_map(name)
        record = dataclasses.replace(record, versions=(version,))
        store.write(record)
        return record, carried


def detach(store: Store, device: str, *, vm: str | None = None) -> DeviceRecord:
    """Take a device away: the guest's next access goes to the VMM.

    :raise StateError: when no such device is attached.
    """
    store.sweep_all()
    vm = store.find(device, vm)
    with store.lock(vm):
        with _open_link(store.pins(vm, device)) as link:
            record = store.read(vm, device)
            link.detach()
        store.forget(vm, device)
        return record


def list_devices(store: Store) -> list[DeviceStatus]:
    """Return all attached devices, after sweeping what is left of others."""
    store.sweep_all()
    found = []
    for vm in store.vms():
        for device in store.devices(vm):
            # Another process may be attaching or detaching it at this moment.
            with contextlib.suppress(BadFileError, _NotAttachedError):
                found.append(_status(store, vm, device))
    return found


def device_state(store: Store, vm: str, device: str) -> State:
    """Read an attached device's global variables, by name.

    :raise StateError: when it is not attached.
    """
    pins = store.pins(vm, device)
    if not pins.maps.is_dir():
        raise StateError(f"no device {device} is attached to VM {vm}")
    state: State = {}
    with contextlib.ExitStack() as stack:
        for found in pins.open_maps(stack).values():
            if found.section is not None:
                state.update(found.globals.as_dict())
    return state


def _status(store: Store, vm: str, device: str) -> DeviceStatus:
    with _open_link(store.pins(vm, device)) as link:
        info = link.info()
    record = store.read(vm, device)
    return DeviceStatus(record, record.attached(info.map_id), not info.defunct)


def _open_link(pins: DevicePins) -> BpfLink:
    link = pins.open_link()
    if link is None:
        directory = pins.directory
        raise _NotAttachedError(
            f"device {directory.name} of VM {directory.parent.name} is not attached any more"
        )
    return link


def _check_same_device(record: DeviceRecord, path: Path) -> None:
    spec = read_device(path)
    difference = record.difference(spec)
    if difference is not None:
        raise StateError(f"{path}: not a version of the attached device: {difference}")
    if spec.version != record.state_version:
        raise LayoutError(
            f"{path}: its state is version {spec.version}, "
            f"the attached device's is version {record.state_version}"
        )


def _record(placed: Placed, *, vm: str, pid: int, version: ObjectVersion) -> DeviceRecord:
    spec = placed.spec
    return DeviceRecord(
        vm=vm,
        device=spec.name,
        pid=pid,
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
    )


def _version(path: Path, loaded: BpfObject) -> ObjectVersion:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return ObjectVersion(loaded.map(kernel.OPS_MAP).id, str(path.resolve()), digest)


def _pin_state(pins: DevicePins, loaded: BpfObject, only: tuple[str, ...] | None = None) -> None:
    for name, found in loaded.maps.items():
        state = state_name(name, found)
        if state is not None and (only is None or state in only):
            pins.pin_map(state, found)
