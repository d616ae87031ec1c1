# SPDX-License-Identifier: GPL-2.0-or-later
"""Which VM a command means: by a process, a QMP socket, or a name.

A name is looked for in two places: among the VMs that have devices already, and
among the QEMUs that run, by their ``-name``. A VM is registered under the name
that it has in the store, else its QEMU's, else ``pid<N>``.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.errors import BadFileError, StateError, VmmError
from kvmbpf.manager.store import Store, check_name
from qemu_glue.qmp import QmpBusyError, QmpSession
from qemu_glue.vmms import qemu_of, running_qemus

# A socket that was not asked for is tried for no longer than this, in seconds.
_TRY_S = 1.0


@dataclass(frozen=True)
class Located:
    """A VM that a command means.

    :param pid: of its VMM (C ``pid_t``).
    :param name: under which it is registered, or will be.
    :param session: with its QEMU, to be closed by the caller; None without.
    :param unchecked: why there is no session; empty when there is.
    """

    pid: int
    name: str
    session: QmpSession | None
    unchecked: str = ""

    def close(self) -> None:
        """Close the session, if there is one; closing twice is fine."""
        if self.session is not None:
            self.session.close()


def locate(store: Store, *, pid: int | None, qmp: Path | None, vm: str | None) -> Located:
    """Find a VM.

    :param pid: of its VMM, or None.
    :param qmp: a socket on which it serves QMP, or None. Not both.
    :param vm: without these two, the VM's name; with one, what to call it.
    :raise StateError: when no VM has that name, or more than one.
    :raise VmmError: when the given socket cannot be talked to.
    """
    if vm is not None:
        check_name("VM", vm)
    if qmp is not None:
        session = QmpSession.connect(qmp)
        pid = session.peer_pid()
        return Located(pid, vm or _name_of(store, pid), session)
    if pid is None:
        if vm is None:
            raise ValueError("neither a process, nor a socket, nor a name")
        pid, name = _by_name(store, vm), vm
    else:
        name = vm or _name_of(store, pid)
    found, unchecked = _any_session(pid)
    return Located(pid, name, found, unchecked)


def _registered(store: Store) -> dict[str, int]:
    """Return the process of each VM that has devices."""
    found = {}
    for vm in store.vms():
        for device in store.devices(vm):
            with contextlib.suppress(BadFileError):  # it may be detached at this moment
                found[vm] = store.read(vm, device).pid
    return found


def _name_of(store: Store, pid: int) -> str:
    registered = _registered(store)
    for name, owner in registered.items():
        if owner == pid:
            return name
    qemu = qemu_of(pid)
    given = qemu.name if qemu is not None else None
    return fit_name(given if given not in registered else None, pid)


def fit_name(given: str | None, pid: int) -> str:
    """Return a VM's name: QEMU's for it where that is fit for the store, else ``pid<N>``."""
    if given is not None:
        with contextlib.suppress(StateError):
            return check_name("VM", given)
    return f"pid{pid}"


def _by_name(store: Store, vm: str) -> int:
    """Return the process of the one VM of a name."""
    found = {qemu.pid: "QEMU" for qemu in running_qemus() if qemu.name == vm}
    owner = _registered(store).get(vm)
    if owner is not None and owner not in found:
        found[owner] = "known to kvmbpf"
    if not found:
        raise StateError(f"no VM {vm}: no QEMU runs with `-name {vm}`, and none has devices")
    if len(found) > 1:
        listed = " and ".join(f"process {pid} ({what})" for pid, what in found.items())
        raise StateError(f"VM {vm} is {listed}: say which with --pid")
    return next(iter(found))


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
            why = f"its QMP socket {path} is in use by another client"
        except VmmError as error:
            why = str(error)
        else:
            if session.peer_pid() == pid:
                return session, ""
            session.close()
            why = f"its QMP socket {path} is another process's now"
    return None, why
