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

from kvmbpf.errors import KernelCallError, KvmBpfError
from kvmbpf.kernel.process import LivingProcess
from kvmbpf.manager.devices import detach_at
from kvmbpf.manager.opening import open_in
from kvmbpf.manager.record import DeviceRecord
from kvmbpf.manager.store import Store
from kvmbpf.model.vm_name import printable
from qemu_glue.address import Address
from qemu_glue.follow import Happening, follow
from qemu_glue.qmp import QmpSession

Tell = Callable[[str], None]

_NOTHING = "it has no device any more"


def watch(
    store: Store,
    vm: str,
    process: LivingProcess,
    path: Address,
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
            where = printable(str(path))
            match happening:
                case Happening.RESET:
                    done = map(_reset, devices_of(store, vm, process))
                    tell(f"the guest was reset: {'; '.join(done) or _NOTHING}")
                case Happening.SHUTDOWN:
                    tell(f"the guest shut down: {_detach_all(store, vm, process)}")
                case Happening.LOST:
                    tell(f"the connection to {where} was lost; trying to connect again")
                case Happening.BACK:
                    tell(f"connected to {where} again; a reset meanwhile was not seen")
            if not devices_of(store, vm, process):
                break
    store.sweep_all()


def devices_of(store: Store, vm: str, process: LivingProcess) -> list[DeviceRecord]:
    """Return the devices of a VM, and none of another VM of its name.

    :param vm: the VM's name.
    :param process: its VMM's.
    """
    return [
        record
        for home in store.vms()
        for record in store.records(home)
        if record.vm == vm and record.process.may_be(process.id)
    ]


def _reset(record: DeviceRecord) -> str:
    """Reset a device; say what became of it."""
    device = record.device
    try:
        with open_in(record) as found:
            found.reset()
    except KernelCallError as error:
        if error.errno == errno.EOPNOTSUPP:
            return f"device {device} has no reset of its own, and stays as it is"
        return f"device {device} was not: {error}"
    except KvmBpfError as error:
        return f"device {device} was not: {error}"
    return f"device {device} too"


def _detach_all(store: Store, vm: str, process: LivingProcess) -> str:
    """Detach all devices of a VM; say which."""
    devices = devices_of(store, vm, process)
    for record in devices:
        # Another process may have done so at this moment, or the VM's end.
        with contextlib.suppress(KvmBpfError):
            detach_at(store, record.home, record.device)
    left = {record.device for record in devices_of(store, vm, process)}
    done = sorted({record.device for record in devices} - left)
    return f"detached {', '.join(done)}" if done else _NOTHING
