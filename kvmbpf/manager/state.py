# SPDX-License-Identifier: GPL-2.0-or-later
"""An attached device's state: its global variables, with their types and values.

Read from the very memory that the programs use, while they use it: each integer
is of one moment, a larger value need not be (of a section that cannot be mapped see
`kvmbpf.kernel.libbpf.section_memory`). What the header of this project
keeps in there for itself (``kvmbpf_...``) is no state of the device.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from kvmbpf.errors import BadFileError, KernelCallError, StateError
from kvmbpf.kernel.libbpf import BpfMap, Value
from kvmbpf.kernel.libbpf.btf import KernelTypes
from kvmbpf.kernel.libbpf.spelling import spell
from kvmbpf.manager.record import ObjectVersion
from kvmbpf.manager.store import Store, state_of
from kvmbpf.model.vm_name import shown

PRIVATE = "kvmbpf_"
State = dict[str, Value]


@dataclass(frozen=True)
class StateValue:
    """One variable.

    :param type: as C spells it, as ``__u32`` or ``struct slot[4]``.
    :param value: as `kvmbpf.kernel.libbpf.values` has it.
    """

    name: str
    section: str
    type: str
    value: Value


@dataclass(frozen=True)
class Reading:
    """What could be read of a device's state, and what could not.

    :param values: in the order of their sections.
    :param problems: a line for each section or map that could not be read, with the reason.
    """

    values: tuple[StateValue, ...]
    problems: tuple[str, ...]


def device_state(store: Store, home: str, device: str) -> State:
    """Read an attached device's global variables, by name.

    :param home: of its VM, as `DeviceRecord.home`: its name where that is plain.
    :raise StateError: when it is not attached.
    :raise KernelCallError: when the kernel refuses.
    """
    return {found.name: found.value for found in typed_state(store, home, device)}


def typed_state(store: Store, home: str, device: str) -> list[StateValue]:
    """Read an attached device's global variables, in the order of their sections.

    :param home: of its VM.
    :raise StateError: when it is not attached.
    :raise KernelCallError: when the kernel refuses.
    """
    pins = store.pins(home, device)
    if not pins.link.exists():
        raise StateError(f"no device {device} is attached to VM {shown(store.name_of(home))}")
    with contextlib.ExitStack() as stack:
        maps = pins.open_maps(stack)
        return [value for found in maps.values() for value in _values(found)]


def read_state(
    store: Store, home: str, device: str, version: ObjectVersion | None = None
) -> Reading:
    """Read as much as can be read of a device's global variables.

    :param home: of its VM.
    :param version: the object that answers: it says what must be there; None if unknown.
    """
    pins = store.pins(home, device)
    values: list[StateValue] = []
    problems: list[str] = []
    try:
        names = pins.map_names()
        lost = pins.lost(version.maps) if version else []
    except KernelCallError as error:
        return Reading((), (str(error),))
    with KernelTypes() as types:
        for name in names:
            try:
                with pins.open_pin(name, types) as found:
                    values += _values(found)
            except (BadFileError, KernelCallError, StateError) as error:
                problems.append(f"state {state_of(name)}: {error}")
    problems += [f"state {state_of(name)}: its pin was removed" for name in lost]
    return Reading(tuple(values), tuple(problems))


def _values(found: BpfMap) -> list[StateValue]:
    section, btf = found.section, found.btf
    if section is None or btf is None:
        return []
    return [
        StateValue(
            variable.name,
            section,
            spell(btf, variable.type_id),
            found.globals[variable.name],
        )
        for variable in btf.variables(found.spec.value_type_id)
        if not variable.name.startswith(PRIVATE)
    ]
