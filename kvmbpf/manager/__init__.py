# SPDX-License-Identifier: GPL-2.0-or-later
"""The manager: devices in running VMs, attached, replaced, taken away.

There is no daemon. What is attached is held by the kernel, through pins in
bpffs, so every function here works in a process of its own and may be followed
by another one in another process.
"""

from kvmbpf.manager.devices import attach, detach, device_state, list_devices, update
from kvmbpf.manager.record import DeviceRecord
from kvmbpf.manager.store import Store

__all__ = [
    "DeviceRecord",
    "Store",
    "attach",
    "detach",
    "device_state",
    "list_devices",
    "update",
]
