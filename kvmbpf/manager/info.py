# SPDX-License-Identifier: GPL-2.0-or-later
"""All that is known of an attached device, and from whom.

From the record: its place, its object file, its limits as they were set. From
the kernel, by the pinned link: the programs and maps that answer now, and the
state's values. From KVM, for whoever may ptrace the VMM: faults, ejection, limits
and counts of each region (`kvmbpf.manager.opening`).
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.errors import KernelCallError
from kvmbpf.kernel.kvm import KvmDevice
from kvmbpf.kernel.libbpf.btf import KernelTypes
from kvmbpf.kernel.libbpf.loaded import LoadedProgram, ProgramInfo, open_map_id, program_ids
from kvmbpf.kernel.libbpf.map import BpfMap
from kvmbpf.kernel.process import ProcessId, process_name
from kvmbpf.kernel.rights import require, user_name
from kvmbpf.kernel.uapi import bpf as bpf_uapi
from kvmbpf.kernel.uapi import kvm as uapi
from kvmbpf.manager.devices import DeviceStatus, find_device
from kvmbpf.manager.irqchip import Controller, find_controller
from kvmbpf.manager.limits import read_limits
from kvmbpf.manager.listing import UNREADABLE
from kvmbpf.manager.opening import try_open
from kvmbpf.manager.record import DeviceRecord, Limits, ObjectVersion
from kvmbpf.manager.state import PRIVATE, StateValue, read_state
from kvmbpf.manager.store import Store
from kvmbpf.model.irqchip import IrqChip

_REASONS = {uapi.KVM_BPF_FAULT_ERROR: "error", uapi.KVM_BPF_FAULT_SLOW: "slow"}


@dataclass(frozen=True)
class Vmm:
    """The VMM's process.

    :param name: its command's, or None when it is gone.
    :param user: whose it is, or None when it is gone.
    """

    pid: int
    name: str | None
    user: str | None


@dataclass(frozen=True)
class ObjectFile:
    """The file that the attached programs came from.

    :param sha256: of the file when it was loaded, in hexadecimal.
    :param loaded_s: when that was, in seconds since 1970.
    :param now: ``same``, ``changed``, ``gone``, or ``unreadable``.
    """

    path: str
    sha256: str
    loaded_s: float
    now: str


@dataclass(frozen=True)
class Program:
    """A program that is attached.

    :param callback: what it is of the device: ``read``, ``write`` or ``reset``.
    """

    callback: str
    info: ProgramInfo


@dataclass(frozen=True)
class StateMap:
    """A map that holds state; sizes in bytes.

    :param name: under which it is carried over: a section's, or its own.
    :param type: as ``array``.
    :param memory_bytes: that the kernel charges for it.
    """

    name: str
    id: int
    type: str
    key_bytes: int
    value_bytes: int
    max_entries: int
    memory_bytes: int


@dataclass(frozen=True)
class Fault:
    """The last fault of a device's programs; times in ns.

    :param reason: ``error`` or ``slow``.
    :param time_ns: when, by CLOCK_MONOTONIC.
    :param error: what the program returned, where that was the reason.
    :param run_ns: how long it ran, where that was.
    """

    reason: str
    time_ns: int
    error: int
    run_ns: int
    region: int
    offset: int
    bytes: int
    write: bool
    vcpu: int


@dataclass(frozen=True)
class RegionCounts:
    """The accesses to a region; times in ns.

    :param reads: while statistics were enabled, as the next three.
    :param declines: of the whole life of the device, as the next.
    """

    reads: int
    writes: int
    ns: int
    max_ns: int
    declines: int
    faults: int


@dataclass(frozen=True)
class Condition:
    """What KVM tells of a device by its own descriptor.

    :param ejected: its programs went past the limits: all accesses are declined.
    :param replaced: how often its programs were replaced.
    :param faults: since they were attached or replaced.
    :param asserted: bitmap of the level-triggered interrupts that it holds.
    :param limits: that hold now.
    :param statistics: whether reads, writes and times are counted.
    :param regions: by index.
    """

    ejected: bool
    replaced: int
    faults: int
    last_fault: Fault | None
    asserted: int
    limits: Limits
    statistics: bool
    regions: tuple[RegionCounts, ...]


@dataclass(frozen=True)
class DeviceInfo:
    """A device, whole.

    :param record: what its manager wrote down.
    :param object: None when an unknown object answers.
    :param programs: that answer now.
    :param state: the values of its variables, as far as they can be read.
    :param unreadable: a line for each thing that cannot be read, with the reason.
    :param condition: None where KVM cannot be asked.
    :param no_condition: why, then; else empty.
    :param controller: where its VM has the interrupt controllers; None without irqs.
    """

    record: DeviceRecord
    link_id: int
    vmm: Vmm
    object: ObjectFile | None
    programs: tuple[Program, ...]
    maps: tuple[StateMap, ...]
    state: tuple[StateValue, ...]
    unreadable: tuple[str, ...]
    condition: Condition | None
    no_condition: str
    controller: Controller | None


def device_info(
    store: Store, device: str, *, vm: str | None = None, pid: int | None = None
) -> DeviceInfo:
    """Return all that is known of an attached device.

    :param vm: the VM's name; None where the device's is unique.
    :param pid: of its VMM, where VMs of one name have the device; None for any.
    :raise StateError: when it is not attached.
    :raise UnsupportedError: without CAP_SYS_ADMIN.
    """
    found = find_device(store, device, vm, pid)
    require("kvmbpf info", "CAP_SYS_ADMIN")  # to see programs and types
    record = found.record
    condition, reason = read_condition(record)
    problems: list[str] = []
    try:
        programs = read_programs(found)
    except UNREADABLE as error:
        programs = []
        problems.append(f"programs: {error}")
    state = read_state(store, record.home, record.device, found.version)
    return DeviceInfo(
        record=record,
        link_id=found.link_id,
        vmm=find_vmm(record.process),
        object=_object_file(found.version),
        programs=tuple(programs),
        maps=tuple(_maps(store, record)),
        state=state.values,
        unreadable=(*problems, *state.problems),
        condition=condition,
        no_condition=reason,
        controller=_controller(record) if record.irqs else None,
    )


def find_vmm(process: ProcessId) -> Vmm:
    """Return a VMM's name and user, as far as it is there, and not another of its number."""
    pid = process.pid
    name = process_name(pid)
    try:
        user = user_name(Path(f"/proc/{pid}").stat().st_uid)
    except OSError:
        return Vmm(pid, None, None)
    return Vmm(pid, name, user) if name is not None and process.lives() else Vmm(pid, None, None)


def read_programs(found: DeviceStatus) -> list[Program]:
    """Return the programs that answer a device's accesses.

    :raise KernelCallError: EPERM without CAP_SYS_ADMIN.
    """
    programs = []
    with open_map_id(found.map_id) as ops:
        for callback, program_id in program_ids(ops).items():
            with LoadedProgram.open_id(program_id) as program:
                programs.append(Program(callback, program.info()))
    return programs


def read_condition(record: DeviceRecord) -> tuple[Condition | None, str]:
    """Return what KVM tells of a device, or None and why it cannot be asked."""
    device, reason = try_open(record)
    if device is None:
        return None, reason
    with device:
        return _condition(device, len(record.regions)), ""


def _controller(record: DeviceRecord) -> Controller:
    """Return where the VM of a device has its interrupt controllers; KVM knows which VM it is."""
    device, reason = try_open(record)
    if device is None:
        return Controller(IrqChip.UNKNOWN, reason)
    with device:
        return find_controller(device, record.pid)


def _condition(device: KvmDevice, regions: int) -> Condition:
    info = device.info()
    return Condition(
        ejected=bool(info.state & uapi.KVM_BPF_STATE_EJECTED),
        replaced=info.replaced,
        faults=info.faults,
        last_fault=_fault(info.last_fault),
        asserted=info.asserted,
        limits=read_limits(device),
        statistics=device.stats_enabled(),
        regions=tuple(_counts(device.stats(index)) for index in range(regions)),
    )


def _fault(fault: uapi.kvm_bpf_fault) -> Fault | None:
    if not fault.time_ns:
        return None
    return Fault(
        reason=_REASONS.get(fault.reason, f"reason {fault.reason}"),
        time_ns=fault.time_ns,
        error=fault.error,
        run_ns=fault.run_ns,
        region=fault.region,
        offset=fault.offset,
        bytes=fault.len,
        write=bool(fault.flags & uapi.KVM_BPF_FAULT_WRITE),
        vcpu=fault.vcpu_id,
    )


def _counts(stats: uapi.kvm_bpf_stats) -> RegionCounts:
    return RegionCounts(
        stats.reads, stats.writes, stats.ns, stats.max_ns, stats.declines, stats.faults
    )


def _object_file(version: ObjectVersion | None) -> ObjectFile | None:
    if version is None:
        return None
    try:
        digest = hashlib.sha256(Path(version.path).read_bytes()).hexdigest()
        now = "same" if digest == version.sha256 else "changed"
    except FileNotFoundError:
        now = "gone"
    except OSError:
        now = "unreadable"
    return ObjectFile(version.path, version.sha256, version.loaded_s, now)


def _maps(store: Store, record: DeviceRecord) -> list[StateMap]:
    """Return the maps that hold state; for one that cannot be read see `read_state`."""
    pins = store.pins(record.home, record.device)
    found = []
    with KernelTypes() as types:
        for pin in pins.map_names():
            with contextlib.suppress(*UNREADABLE), pins.open_pin(pin, types) as pinned:
                name = pinned.section or pinned.name
                if not name.removeprefix(".data.").startswith(PRIVATE):
                    found.append(_map(name, pinned))
    return found


def _map(name: str, found: BpfMap) -> StateMap:
    spec = found.spec
    return StateMap(
        name,
        found.id,
        bpf_uapi.MAP_TYPE_NAMES.get(spec.type, str(spec.type)),
        spec.key_size,
        spec.value_size,
        spec.max_entries,
        _charged_bytes(found.fd),
    )


def _charged_bytes(fd: int) -> int:
    """Return the memory of a map, by its descriptor's fdinfo.

    :raise KernelCallError: when the kernel does not show it.
    """
    path = Path(f"/proc/self/fdinfo/{fd}")
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError as error:
        raise KernelCallError(f"open({path})", error.errno or 0) from error
    words = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(words.get("memlock", "0"))


def monotonic_to_wall_s(time_ns: int) -> float:
    """Return the seconds since 1970 of a time of CLOCK_MONOTONIC in ns."""
    return time.time() - (time.monotonic_ns() - time_ns) / 1e9
