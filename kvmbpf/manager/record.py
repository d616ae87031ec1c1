# SPDX-License-Identifier: GPL-2.0-or-later
"""What is kept of an attached device beside the kernel's own state.

The kernel knows which programs are attached and holds their maps. It does not
tell where the device is in the guest nor which file it came from; that is one
small JSON file a device.

An update writes both versions before it switches, and one afterwards. A reader
picks the version whose map the link holds, so a manager that died in between
leaves nothing to guess.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_origin, get_type_hints

from kvmbpf.errors import BadFileError, KernelCallError
from kvmbpf.kernel.process import ProcessId
from kvmbpf.mends import OF_ANY_CALL
from kvmbpf.model.placement import Placed
from kvmbpf.model.spec import Bus, DeviceSpec, IrqSpec, RegionSpec, Trigger
from kvmbpf.model.vm_name import home_of

# 2: compatible is a list; limits, times, device_id, manager, and each version's maps
# 3: start_ticks, and vm may be any text. One of 2 is read as well.
SCHEMA = 3
_OLDEST = 2
# Times are in seconds since 1970, whole or not, before the year 9000.
_TIME = (int, float)
_END_OF_TIME_S = 221_845_000_000


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One version of a device's object.

    :param map_id: id of its struct_ops map in the kernel.
    :param path: the file it was loaded from.
    :param sha256: of that file then, in hexadecimal.
    :param maps: the names of the pins of the state that it uses.
    :param loaded_s: when, in seconds since 1970.
    """

    map_id: int
    path: str
    sha256: str
    maps: tuple[str, ...]
    loaded_s: float


@dataclass(frozen=True, slots=True)
class RegionRecord:
    """Where a region is: guest physical address or port, size in bytes, bus."""

    gpa: int
    size: int
    bus: str = Bus.MMIO.name.lower()

    @property
    def on_ports(self) -> bool:
        """Whether it is a region of ports."""
        return Bus[self.bus.upper()] is Bus.PIO


@dataclass(frozen=True, slots=True)
class IrqRecord:
    """What an interrupt is wired to: its gsi, and ``edge`` or ``level``."""

    gsi: int
    trigger: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What a device's programs may cost before KVM ejects them.

    :param max_faults: how many faults (C ``__u32``); None for any number.
    :param max_run_ns: each such time in ns that one access takes is a fault;
        None where accesses are not timed.
    """

    max_faults: int | None = None
    max_run_ns: int | None = None


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """A device that is attached to a VM.

    :param vm: the VM's name, any text.
    :param device: the device's name.
    :param pid: of the VMM.
    :param backend: who runs the programs.
    :param compatible: what the guest's driver binds to, the most specific first.
    :param state_version: of the state's schema.
    :param regions: by index.
    :param irqs: by index.
    :param versions: one; two while an update is under way.
    :param limits: as kvmbpf set them last.
    :param attached_s: when, in seconds since 1970.
    :param device_id: of the device in KVM (C ``__u64``), while the host is up.
    :param manager: the process that attached it.
    :param reason: why it is that backend.
    :param concurrent: its programs take accesses of several vCPUs at once.
    :param start_ticks: when the VMM started, in clock ticks since boot (C ``unsigned
        long long``): a later process of its number is another one. None in records
        from before there was this.
    :param home: the name of the VM's folders (`kvmbpf.model.vm_name`); empty takes
        that of the first VM of its name.
    """

    vm: str
    device: str
    pid: int
    backend: str
    compatible: tuple[str, ...]
    state_version: int
    regions: tuple[RegionRecord, ...]
    irqs: tuple[IrqRecord, ...]
    versions: tuple[ObjectVersion, ...]
    limits: Limits
    attached_s: float
    device_id: int
    manager: int
    reason: str
    concurrent: bool
    start_ticks: int | None = None
    home: str = ""

    def __post_init__(self) -> None:
        if not self.home:
            object.__setattr__(self, "home", home_of(self.vm))

    @property
    def process(self) -> ProcessId:
        """The VMM's process."""
        return ProcessId(self.pid, self.start_ticks)

    def attached(self, map_id: int) -> ObjectVersion | None:
        """Return the version whose map the link holds."""
        return next((v for v in self.versions if v.map_id == map_id), None)

    def placed(self) -> Placed:
        """Return the device's place, by which another one avoids it."""
        spec = DeviceSpec(
            name=self.device,
            compatible=self.compatible,
            concurrent=self.concurrent,
            version=self.state_version,
            regions=tuple(
                RegionSpec(index, Bus[region.bus.upper()], region.size, "", "")
                for index, region in enumerate(self.regions)
            ),
            irqs=tuple(IrqSpec(index, Trigger(irq.trigger)) for index, irq in enumerate(self.irqs)),
        )
        gpas = tuple(region.gpa for region in self.regions)
        return Placed(spec, gpas, tuple(irq.gsi for irq in self.irqs))

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain values, with its schema's version."""
        plain = _plain(self)
        del plain["home"]  # it is where this is kept
        return {
            "schema": SCHEMA,
            **plain,
            "regions": [_plain(region) for region in self.regions],
            "irqs": [_plain(irq) for irq in self.irqs],
            "versions": [_plain(version) for version in self.versions],
            "limits": _plain(self.limits),
        }

    def difference(self, spec: DeviceSpec) -> str | None:
        """Return how a new object's device differs from this one, or None."""
        if spec.compatible != self.compatible:
            return f"compatible was {' '.join(self.compatible)}, is {' '.join(spec.compatible)}"
        for what, before, after in (
            (
                "region buses",
                [r.bus for r in self.regions],
                [r.bus.name.lower() for r in spec.regions],
            ),
            ("region sizes", [r.size for r in self.regions], [r.size for r in spec.regions]),
            ("irqs", [i.trigger for i in self.irqs], [i.trigger.value for i in spec.irqs]),
            ("concurrent accesses", self.concurrent, spec.concurrent),
        ):
            if before != after:
                return f"{what} were {before}, are {after}"
        for region, wanted in zip(self.regions, spec.regions, strict=True):
            if wanted.base not in (None, region.gpa):
                return f"region {wanted.index} is at {region.gpa:#x}, must be at {wanted.base:#x}"
        return None


def read_record(path: Path) -> DeviceRecord:
    """Read a record.

    :raise BadFileError: when it is not one, or of an older or newer schema.
    :raise KernelCallError: when there is no descriptor to read it with.
    """
    try:
        return _record(path, path.read_text())
    except (OSError, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno in OF_ANY_CALL:
            raise KernelCallError(f"open({path})", error.errno or 0) from error
        raise BadFileError(path, f"not a device's record: {error}") from error


@functools.lru_cache(maxsize=16)  # one command reads each several times
def _record(path: Path, text: str) -> DeviceRecord:
    try:
        raw = json.loads(text)
        _check_schema(path, raw.pop("schema"))
        raw["compatible"] = _strings(raw["compatible"])
        raw["regions"] = tuple(RegionRecord(**item) for item in raw["regions"])
        raw.setdefault("start_ticks", None)  # a record of schema 2
        for region in raw["regions"]:
            Bus[region.bus.upper()]  # KeyError when there is none
        raw["irqs"] = tuple(IrqRecord(**item) for item in raw["irqs"])
        raw["versions"] = tuple(_version(item) for item in raw["versions"])
        raw["limits"] = Limits(**raw["limits"])
        record = DeviceRecord(**raw)
        _check_values(record)
        return record
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadFileError(path, f"not a device's record: {error}") from error


def _plain(record: Any) -> dict[str, Any]:  # noqa: ANN401 - one of the above
    return {name: getattr(record, name) for name in record.__slots__}


def _check_values(record: DeviceRecord) -> None:
    """Refuse what JSON has, and a device has not: who reads a record relies on its kinds.

    :raise TypeError: when a value is of another kind.
    :raise ValueError: when it is no time, or no trigger.
    """
    for part in (record, record.limits, *record.regions, *record.irqs, *record.versions):
        for name, kind in _KINDS[type(part)].items():
            value = getattr(part, name)
            if not isinstance(value, kind):
                raise TypeError(f"{name} is {value!r}")
            if kind == _TIME and not 0 <= value < _END_OF_TIME_S:
                raise ValueError(f"{name} is {value!r}")
    for irq in record.irqs:
        Trigger(irq.trigger)
    for version in record.versions:
        if not all(isinstance(name, str) for name in version.maps):
            raise TypeError(f"maps is {version.maps!r}")


def _kinds(part: type) -> dict[str, Any]:
    """Return what isinstance() takes, by the name of a field."""
    hints = get_type_hints(part)
    kinds = {name: get_origin(hint) or hint for name, hint in hints.items()}
    return {
        name: _TIME if kind is float else hints[name] if kind is UnionType else kind
        for name, kind in kinds.items()
    }


_KINDS: dict[type, dict[str, Any]] = {
    part: _kinds(part) for part in (DeviceRecord, Limits, RegionRecord, IrqRecord, ObjectVersion)
}


def _check_schema(path: Path, schema: object) -> None:
    if isinstance(schema, int):
        if _OLDEST <= schema <= SCHEMA:
            return
        age = "an older" if schema < _OLDEST else "a newer"
        raise BadFileError(
            path,
            f"a record of schema {schema}, by {age} kvmbpf; this one reads schema {_OLDEST} "
            f"to {SCHEMA}; "
            "detach the device with the kvmbpf that attached it",
        )
    raise ValueError(f"schema {schema!r}")


def _version(raw: dict[str, Any]) -> ObjectVersion:
    return ObjectVersion(**{**raw, "maps": tuple(raw["maps"])})


def _strings(raw: object) -> tuple[str, ...]:
    if not isinstance(raw, list) or not raw or not all(isinstance(item, str) for item in raw):
        raise ValueError("compatible is no list of strings")
    return tuple(raw)
