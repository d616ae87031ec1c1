# SPDX-License-Identifier: GPL-2.0-or-later
"""Follow a VM in the foreground: reset its devices with it, clean up after it.

Nothing has to be kept for that: a device is opened anew, by its id, through the
VM's descriptor. So a VM may be followed by any process, at any time, and by none.

The guest runs on while its devices are reset: QEMU tells of a reset when it has
happened. Firmware takes longer to reach a device than that; a bare-metal guest may
not.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from pathlib import Path

from kvmbpf.errors import KernelCallError, KvmBpfError
from kvmbpf.kernel.kvm import open_bpf_device
from kvmbpf.manager.devices import detach
from kvmbpf.manager.store import Store
from qemu_glue.follow import Happening, LivingProcess, follow
from qemu_glue.qmp import QmpSession

Tell = Callable[[str], None]

_NOTHING = "it has no device any more"


def watch(
    store: Store,
    vm: str,
    process: LivingProcess,
    path: Path,
    tell: Tell,
    session: QmpSession | None = None,
) -> None:
    """Follow a VM until it ends, or until none of its devices is attached any more.

    A reset of the guest resets its devices; its shutdown, and the end of its
    process, detach them.

    :param vm: the VM's name.
    :param process: its VMM's.
    :param path: the socket on which that serves QMP.
    :param tell: called with each sentence that its user should read.
    :param session: a session on it, which is closed in the end; None connects.
    :raise VmmError: when the first connection cannot be made.
    """
    with contextlib.closing(follow(process, path, session)) as happenings:
        for happening in happenings:
            match happening:
                case Happening.RESET:
                    tell(f"the guest was reset: {_reset_all(store, vm)}")
                case Happening.SHUTDOWN:
                    tell(f"the guest shut down: {_detach_all(store, vm)}")
                case Happening.LOST:
                    tell(f"the connection to {path} was lost; trying to connect again")
                case Happening.BACK:
                    tell(f"connected to {path} again; a reset meanwhile was not seen")
            if not store.devices(vm):
                break
    store.sweep_all()


def _reset_all(store: Store, vm: str) -> str:
    return "; ".join(_reset(store, vm, device) for device in store.devices(vm)) or _NOTHING


def _reset(store: Store, vm: str, device: str) -> str:
    """Reset a device; say what became of it."""
    try:
        record = store.read(vm, device)
        with open_bpf_device(record.pid, record.device_id) as found:
            found.reset()
    except KernelCallError as error:
        if error.errno == errno.EOPNOTSUPP:
            return f"device {device} has no reset of its own, and stays as it is"
        return f"device {device} was not: {error}"
    except KvmBpfError as error:
        return f"device {device} was not: {error}"
    return f"device {device} too"


def _detach_all(store: Store, vm: str) -> str:
    """Detach all devices of a VM; say which."""
    devices = store.devices(vm)
    for device in devices:
        # Another process may have done so at this moment, or the VM's end.
        with contextlib.suppress(KvmBpfError):
            detach(store, device, vm=vm)
    done = sorted({*devices} - {*store.devices(vm)})
    return f"detached {', '.join(done)}" if done else _NOTHING
