# SPDX-License-Identifier: GPL-2.0-or-later
"""Which VM a command means: by a process, a QMP socket, or a name.

A name is looked for in two places: among the VMs that have devices already, and
among the QEMUs that run, by their ``-name``. A VM is registered under the name
that it has in the store, else its QEMU's, else ``pid<N>``. What a VM that has ended
left in the store is swept before, and is none of it: its name is free, and its
process's number may be another's.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from kvmbpf.errors import KernelCallError, StateError, VmmError
from kvmbpf.kernel.process import LivingProcess, ProcessId, find_process
from kvmbpf.manager.store import Store
from kvmbpf.model.vm_name import check_vm_name, printable, shown
from qemu_glue.address import Address
from qemu_glue.qmp import QmpBusyError, QmpSession
from qemu_glue.vmms import qemu_of, running_qemus

# A socket that was not asked for is tried for no longer than this, in seconds.
_TRY_S = 1.0


@dataclass(frozen=True)
class Located:
    """A VM that a command means.

    :param process: its VMM.
    :param name: under which it is registered, or will be.
    :param session: with its QEMU, to be closed by the caller; None without.
    :param unchecked: why there is no session; empty when there is.
    """

    process: ProcessId
    name: str
    session: QmpSession | None
    unchecked: str = ""

    @property
    def pid(self) -> int:
        """The VMM's process id (C ``pid_t``)."""
        return self.process.pid

    def close(self) -> None:
        """Close the session, if there is one; closing twice is fine."""
        if self.session is not None:
            self.session.close()


def locate(store: Store, *, pid: int | None, qmp: Address | None, vm: str | None) -> Located:
    """Find a VM.

    :param pid: of its VMM, or None.
    :param qmp: a socket on which it serves QMP, or None. Not both.
    :param vm: without these two, the VM's name; with one, what to call it.
    :raise StateError: when no VM has that name, or more than one; or the process
        has ended.
    :raise VmmError: when the given socket cannot be talked to.
    """
    if vm is not None:
        check_vm_name(vm)
    with contextlib.suppress(KernelCallError):  # who may not is told by what comes next
        store.sweep_all()
    if qmp is not None:
        session = QmpSession.connect(qmp)
        try:
            process = _living(_seen(session))
            return Located(process, vm or _name_of(store, process), session)
        except BaseException:
            session.close()
            raise
    if pid is None:
        if vm is None:
            raise ValueError("neither a process, nor a socket, nor a name")
        process, name = _by_name(store, vm), vm
    else:
        process = _living(pid)
        name = vm or _name_of(store, process)
    found, unchecked = _any_session(process.pid)
    return Located(process, name, found, unchecked)


def _living(pid: int) -> ProcessId:
    """Return the process of a number.

    :raise KernelCallError: ESRCH when there is none.
    :raise StateError: when it has ended, and nobody has waited for it yet.
    """
    with LivingProcess(pid) as process:
        if not process.lives():
            raise StateError(f"process {pid} has ended; its parent has not waited for it yet")
        return process.id


def _seen(session: QmpSession) -> int:
    """Return the process at the other end of a session."""
    pid = session.peer_pid()
    if not pid:
        raise VmmError(
            f"QMP socket {printable(str(session.path))}: its process is in a pid namespace that "
            "is not seen from here; run kvmbpf where it is, as on the host"
        )
    return pid


def _registered(store: Store) -> list[tuple[str, ProcessId]]:
    """Return the names and processes of the VMs that live and have devices."""
    found = {
        (record.vm, record.process): None
        for home in store.vms()
        for record in store.records(home)
        if record.process.lives()
    }
    return list(found)


def _name_of(store: Store, process: ProcessId) -> str:
    for name, owner in _registered(store):
        if owner.may_be(process):
            return name
    qemu = qemu_of(process.pid)
    return name_or_pid(qemu.name if qemu is not None else None, process.pid)


def name_or_pid(given: str | None, pid: int) -> str:
    """Return a VM's name: QEMU's for it, or ``pid<N>`` where it has none."""
    return given or f"pid{pid}"


def _by_name(store: Store, vm: str) -> ProcessId:
    """Return the process of the one VM of a name."""
    found = {}
    for qemu in running_qemus():
        if qemu.name == vm and (process := find_process(qemu.pid)) is not None:
            found[process.pid] = (process, "QEMU")
    for name, owner in _registered(store):
        if name == vm:
            found.setdefault(owner.pid, (owner, "known to kvmbpf"))
    if not found:
        raise StateError(
            f"no VM {shown(vm)}: no QEMU runs with `-name {shown(vm)}`, and none has devices"
        )
    if len(found) > 1:
        listed = " and ".join(f"process {pid} ({what})" for pid, (_, what) in found.items())
        raise StateError(f"VM {shown(vm)} is {listed}: say which with --pid")
    return next(process for process, _ in found.values())


def _any_session(pid: int) -> tuple[QmpSession | None, str]:
    """Return a session with a process, over a socket of its command line; or why not."""
    qemu = qemu_of(pid)
    if qemu is None:
        return None, f"process {pid} is no QEMU"
    why = "its command line names no UNIX socket that it serves QMP on"
    for path in qemu.qmp_sockets():
        try:
            session = QmpSession.connect(path, _TRY_S)
        except QmpBusyError:
            why = f"its QMP socket {printable(str(path))} is in use by another client"
        except VmmError as error:
            why = str(error)
        else:
            if session.peer_pid() == pid:
                return session, ""
            session.close()
            why = f"its QMP socket {printable(str(path))} is another process's now"
    return None, why
