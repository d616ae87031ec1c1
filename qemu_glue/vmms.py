# SPDX-License-Identifier: GPL-2.0-or-later
"""The QEMUs that run on this host, by /proc: their names and their QMP sockets.

A process is taken for a QEMU by the name that it was started under; its command
line tells the rest. Both can be read of other users' processes too, unless /proc
hides them (hidepid).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.mends import OF_ANY_CALL
from kvmbpf.model.irqchip import IrqChip
from qemu_glue.address import AbstractSocket, Address
from qemu_glue.commandline import CommandLine

_PROGRAM = re.compile(r"qemu-system-[A-Za-z0-9_-]+|qemu-kvm|qemu|kvm")
_IRQCHIP = re.compile(r"kernel[-_]irqchip")
PROC = Path("/proc")


@dataclass(frozen=True)
class QemuInProc:
    """A QEMU that runs.

    :param pid: its process id (C ``pid_t``).
    :param command: its command line.
    """

    pid: int
    command: CommandLine

    @property
    def name(self) -> str | None:
        """The guest's name, of ``-name``."""
        return self.command.guest_name()

    def qmp_sockets(self) -> list[Address]:
        """Return its QMP sockets' paths, as this process reaches them.

        A path on its command line is of its folder and its root, not of ours.
        """
        return [
            address if isinstance(address, AbstractSocket) else self._reached(address)
            for address in self.command.qmp_sockets()
        ]

    def irqchip(self) -> IrqChip:
        """Return where its interrupt controllers are, where its command line says so outright."""
        return IrqChip.UNKNOWN if self._config_says_irqchip() else self.command.irqchip()

    def irqchip_option(self) -> str:
        """Return the option that would put all of its interrupt controllers into KVM."""
        if self._config_says_irqchip():
            return 'kernel-irqchip=on, as kernel-irqchip = "on" in what its -readconfig reads'
        return self.command.irqchip_option()

    def _config_says_irqchip(self) -> bool:
        """Tell whether a file of -readconfig says where they are, or may."""
        for value in self.command.values("readconfig"):
            path = self._reached(Path(value))
            try:
                # A pipe has been read, by QEMU, and another reader would wait for more.
                said = not path.is_file() or _IRQCHIP.search(path.read_text(errors="replace"))
            except OSError:
                return True
            if said:
                return True
        return False

    def _reached(self, path: Path) -> Path:
        """Return a path of its command line as this process reaches it."""
        process = PROC / str(self.pid)
        root = process / "root"
        inside = path if path.is_absolute() else _target(process / "cwd") / path
        return inside if _target(root) == Path("/") else root / inside.relative_to("/")


def qemu_of(pid: int) -> QemuInProc | None:
    """Return the QEMU that a process is; None if it is none, or gone."""
    try:
        raw = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError as error:
        if error.errno in OF_ANY_CALL:
            raise  # that says nothing of the process
        return None
    command = [item.decode(errors="surrogateescape") for item in raw.split(b"\0")[:-1]]
    if not command or not _PROGRAM.fullmatch(Path(command[0]).name):
        return None
    return QemuInProc(pid, CommandLine(command))


def running_qemus() -> list[QemuInProc]:
    """Return all QEMUs that run, in the order of their process ids."""
    pids = sorted(int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())
    return [found for pid in pids if (found := qemu_of(pid)) is not None]


def _target(link: Path) -> Path:
    """Return where a link of /proc leads; the root when it may not be read."""
    try:
        return link.readlink()
    except OSError:
        return Path("/")
