# SPDX-License-Identifier: GPL-2.0-or-later
"""Bare guests that take the interrupts of the device lvl, and a stock QEMU to run them.

The guest is assembled on the host, one for each gsi and trigger.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from kvmbpf.manager import Store, device_state
from qemu_glue.launch import QemuProcess
from qemu_glue.qmp import QmpSession
from qemu_glue.runtime import RuntimeDir
from tests.lab.objects import OBJECTS_VARIABLE, SOURCES
from tests.lab.pace import PACE

# What needs the guests assembled.
LINE_TESTS = "test_irqchip.py"
VM = "lines"
_ENTRIES = {"level": 0x8040, "edge": 0x0040}
# Each guest's line, and what else it is made with.
_GUESTS: dict[str, tuple[int, tuple[str, ...]]] = {
    "13": (13, ()),
    "16": (16, ()),
    "pic": (5, ("-DPIC",)),
}
_GCC = (
    *("gcc", "-m32", "-nostdlib", "-static"),
    "-Wl,--build-id=none,-z,noexecstack,-Ttext=0x100000",
)
# Six interrupts are all: what pending, acks and isr are then.
WHOLE = {"pending": 0, "acks": 6, "isr": 6}


def assemble_guests(folder: Path) -> None:
    """Assemble the guests into a folder."""
    source = SOURCES / "lvl_guest.S"
    for kind, (gsi, names) in _GUESTS.items():
        for trigger, entry in _ENTRIES.items():
            target = folder / f"lvl-{trigger}-{kind}.elf"
            given = (f"-DGSI={gsi}", f"-DENTRY={entry}", *names)
            subprocess.run([*_GCC, *given, "-o", target, source], check=True)


def line_guest(trigger: str, kind: int | str) -> Path:
    """Return one of the guests, as ``level`` on 16; kind ``pic`` takes gsi 5 by the PIC."""
    return Path(os.environ[OBJECTS_VARIABLE]) / f"lvl-{trigger}-{kind}.elf"


@contextmanager
def line_qemu(arguments: Sequence[str]) -> Iterator[tuple[QemuProcess, QmpSession]]:
    """Give a QEMU that is stopped, named `VM`, and the session with it."""
    own = ["-name", VM, "-m", "64", "-nodefaults", "-display", "none"]
    with (
        RuntimeDir() as runtime,
        QemuProcess([*own, *arguments], runtime) as qemu,
        qemu.connect() as qmp,
    ):
        yield qemu, qmp


def counts(store: Store, vm: str = VM) -> dict[str, int]:
    """Wait until the guest has counted all interrupts, or for long; return what was counted."""
    deadline = time.monotonic() + 30 * PACE
    while True:
        state = device_state(store, vm, "lvl")
        found = {name: int(state[name]) for name in WHOLE}
        if found == WHOLE or time.monotonic() > deadline:
            return found
        time.sleep(0.2)
