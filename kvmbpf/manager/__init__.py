# SPDX-License-Identifier: GPL-2.0-or-later
"""The manager: devices in running VMs, attached, replaced, taken away.

There is no daemon. What is attached is held by the kernel, through pins in
bpffs, so every function here works in a process of its own and may be followed
by another one in another process.
"""

from kvmbpf.kernel.libbpf.memory import keep_freed_memory
from kvmbpf.manager.devices import (
    Detached,
    DeviceStatus,
    Update,
    UpdateStep,
    attach,
    detach,
    find_device,
    update,
)
from kvmbpf.manager.listing import Listed, list_all, list_devices
from kvmbpf.manager.record import DeviceRecord, Limits
from kvmbpf.manager.state import device_state
from kvmbpf.manager.store import Store

__all__ = [
    "Detached",
    "DeviceRecord",
    "DeviceStatus",
    "Limits",
    "Listed",
    "Store",
    "Update",
    "UpdateStep",
    "attach",
    "detach",
    "device_state",
    "find_device",
    "keep_freed_memory",
    "list_all",
    "list_devices",
    "update",
]
