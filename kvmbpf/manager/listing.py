# SPDX-License-Identifier: GPL-2.0-or-later
"""All attached devices, also those that cannot be read.

A device may be unreadable for many a reason: no right to open its pin, a record that
is lost, damaged or another kvmbpf's, something else in the place of its link. It is
listed with the reason then, and costs the others nothing.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from kvmbpf.errors import BadFileError, KernelCallError, StateError
from kvmbpf.manager.devices import DeviceStatus, NotAttachedError, open_link
from kvmbpf.manager.store import Store

UNREADABLE = (BadFileError, KernelCallError, StateError)
"""What is wrong with one device; anything else is wrong for all of them."""


@dataclass(frozen=True)
class Listed:
    """A device, read or not.

    :param vm: its VM's name, as far as that can be known.
    :param device: its name; None where a VM does not even show which devices it has.
    :param status: as it is now, or None.
    :param attached: whether it is attached; None where its link cannot be read.
    :param unreadable: why it cannot be read, one line; empty where it can.
    """

    vm: str
    device: str | None
    status: DeviceStatus | None
    attached: bool | None
    unreadable: str


def list_all(store: Store) -> list[Listed]:
    """Return all devices, after sweeping what is left of those that have gone.

    :raise KernelCallError: when the store itself is not permitted.
    :raise UnsupportedError: when libbpf is missing.
    """
    store.sweep_all()
    found = []
    for home in store.vms():
        try:
            devices = store.devices(home)
        except KernelCallError as error:
            found.append(Listed(store.name_of(home), None, None, None, str(error)))
            continue
        for device in devices:
            # Another process may be attaching or detaching it at this moment.
            with contextlib.suppress(NotAttachedError):
                found.append(_look(store, home, device))
    return found


def _look(store: Store, home: str, device: str) -> Listed:
    """Look at one device.

    :raise NotAttachedError: when there is no such device any more.
    """
    try:
        with open_link(store.pins(home, device)) as link:
            info = link.info()
    except NotAttachedError:
        raise
    except UNREADABLE as error:
        return Listed(store.name_of(home), device, None, None, str(error))
    try:
        found = DeviceStatus.of(store.read(home, device), info)
    except UNREADABLE as error:
        return Listed(store.name_of(home), device, None, not info.defunct, str(error))
    return Listed(found.record.vm, device, found, found.attached, "")


def list_devices(store: Store) -> list[DeviceStatus]:
    """Return the attached devices that can be read, after sweeping what is left of others."""
    return [one.status for one in list_all(store) if one.status is not None]
