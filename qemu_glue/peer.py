# SPDX-License-Identifier: GPL-2.0-or-later
"""Why the other end of a QMP socket says nothing.

A connection stands as soon as it is queued, so a peer may be silent because it does
not run, because it has not taken the connection (a QMP socket takes one at a time), or
because it is something that does not speak first. The kernel knows the first two:
/proc/PID/stat and /proc/net/unix; the command line of a QEMU tells what its socket is.

Source: unix_seq_show() in net/unix/af_unix.c, v6.12.
"""

from __future__ import annotations

import enum
import os
import socket
import struct
from pathlib import Path

from kvmbpf.kernel.process import process_name, why_it_stands
from kvmbpf.model.vm_name import printable
from qemu_glue.address import Address
from qemu_glue.vmms import qemu_of, running_qemus

_NET_UNIX = Path("/proc/net/unix")
_LISTENS = 0x10000  # __SO_ACCEPTCON
_QUEUED, _TAKEN = "02", "03"  # SS_CONNECTING, SS_CONNECTED
_AGENT = "qemu-ga"


class Queue(enum.Enum):
    """What became of a connection."""

    TAKEN = "it was taken"
    BEHIND_ANOTHER = "it waits, and another one was taken"
    WAITS = "it waits, and there is no other one"
    UNKNOWN = "the kernel does not tell"


def peer_pid(sock: socket.socket) -> int:
    """Return who made a socket's other end listen (C ``pid_t``), from SO_PEERCRED; 0: unseen."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, _uid, _gid = struct.unpack("3i", credentials)
    return int(pid)


def who(pid: int) -> str:
    """Say which process it is."""
    name = process_name(pid) if pid else None
    if name is None:
        return "its process"
    return f"process {pid} ({printable(name)})"


def owner_of(address: Address) -> int:
    """Return the QEMU that has a socket on its command line; 0 for none."""
    return next((one.pid for one in running_qemus() if address in one.qmp_sockets()), 0)


def queue_of(sock: socket.socket) -> Queue:
    """Tell what became of a connection that was made."""
    name = bound_name(sock)
    if not name or name[:1] not in (b"/", b"@"):
        return Queue.UNKNOWN  # relative to some folder: another socket may be called so too
    try:
        lines = _NET_UNIX.read_bytes().splitlines()[1:]
    except OSError:
        return Queue.UNKNOWN
    found = [fields for line in lines if (fields := line.split(None, 7))[7:] == [name]]
    if not any(int(fields[3], 16) & _LISTENS for fields in found):
        return Queue.UNKNOWN  # it is of another network namespace
    states = [fields[5].decode() for fields in found]
    if _QUEUED not in states:
        return Queue.TAKEN
    return Queue.BEHIND_ANOTHER if _TAKEN in states else Queue.WAITS


def bound_name(sock: socket.socket) -> bytes:
    """Return the name under which the other end listens, an abstract one with its @."""
    try:
        name = sock.getpeername()
    except OSError:
        return b""
    raw = name if isinstance(name, bytes) else os.fsencode(name)
    return raw.replace(b"\0", b"@") if raw[:1] == b"\0" else raw


def what_is(sock: socket.socket, pid: int) -> str:
    """Say what a socket is that does not speak first, as far as anything tells; or nothing."""
    if pid and process_name(pid) == _AGENT:
        return "that is a guest agent, which does not greet"
    qemu = qemu_of(pid) if pid else None
    return qemu.command.use_of_socket(os.fsdecode(bound_name(sock))) if qemu else ""


__all__ = ["Queue", "owner_of", "peer_pid", "queue_of", "what_is", "who", "why_it_stands"]
