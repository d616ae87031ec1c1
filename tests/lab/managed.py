# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of the manager share: a store of their own, devices, and commands.

A command runs as a process of its own, forked from the test's: in the lab Python
takes long to start. It is the command as it is installed, from its arguments to
its exit code.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from kvmbpf.cli import main
from kvmbpf.kernel.rights import NUMBERS
from kvmbpf.manager import DeviceRecord, Limits, Store, attach
from kvmbpf.model.objfile import read_device
from kvmbpf.model.placement import Placed
from tests.lab.bare_vmm import BareVmm
from tests.lab.leaks import assert_nothing_leaked
from tests.lab.objects import device_object
from tests.lab.steered import GPA

VM = "bare"
_CAP_VERSION_3 = 0x20080522
_NR_CAPSET = 126  # x86-64
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def own_store(folder: Path) -> Iterator[Store]:
    """Give a store of one's own; in the end nothing of it may be left."""
    pins = Path("/sys/fs/bpf") / f"kvmbpf-test-{os.getpid()}"
    pins.mkdir()
    found = Store(folder / "run", pins)
    yield found
    found.sweep_all()
    for vm in found.vms():
        for device in found.devices(vm):
            found.forget(vm, device)
    if found.pin_dir.exists():
        found.pin_dir.rmdir()
    pins.rmdir()
    assert_nothing_leaked()


def attach_object(
    store: Store,
    vmm: BareVmm,
    name: str,
    *,
    vm: str = VM,
    gsis: tuple[int, ...] = (),
    limits: Limits | None = None,
) -> DeviceRecord:
    """Attach the device of a test's object that has one region."""
    path = device_object(name)
    placed = Placed(read_device(path), (GPA,), gsis)
    return attach(store, path, placed, pid=vmm.pid, vm=vm, limits=limits)


@dataclass(frozen=True)
class Done:
    """What a command has left: its exit status, 128 + N if signal N ended it."""

    status: int
    out: str
    err: str


class Command:
    """A command that runs.

    :param arguments: those of ``kvmbpf``.
    :param without: capabilities that it has not.
    :param uid: the user that it runs as.
    """

    def __init__(
        self, store: Store, arguments: Sequence[str], without: Sequence[str] = (), uid: int = 0
    ) -> None:
        out, to_out = os.pipe()
        err, to_err = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _run(store, arguments, (to_out, to_err), without, uid)
        os.close(to_out)
        os.close(to_err)
        self._out = os.fdopen(out)
        self._err = os.fdopen(err)

    def line(self) -> str:
        """Wait for the next line of its output."""
        return self._out.readline()

    def finish(self, number: signal.Signals | None = None) -> Done:
        """Send it a signal, or none, and wait for its end."""
        if number is not None:
            os.kill(self.pid, number)
        with self._out, self._err:
            out, err = self._out.read(), self._err.read()
        _, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        return Done(code if code >= 0 else 128 - code, out, err)


def kvmbpf(store: Store, *arguments: str, without: Sequence[str] = (), uid: int = 0) -> Done:
    """Run a command to its end."""
    return Command(store, arguments, without, uid).finish()


def _run(
    store: Store,
    arguments: Sequence[str],
    outputs: tuple[int, int],
    without: Sequence[str],
    uid: int,
) -> NoReturn:
    """Become the command, in a process that was forked for it."""
    status = 99
    try:
        for number, output in enumerate(outputs, start=1):
            os.dup2(output, number)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        os.environ["KVMBPF_RUN_DIR"] = str(store.run_dir)
        os.environ["KVMBPF_BPFFS"] = str(store.pin_dir.parent)
        sys.argv = ["kvmbpf", *arguments]
        _give_up(without, uid)
        main()
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else 1
    finally:
        sys.stdout.flush()
        os._exit(status)


def _give_up(without: Sequence[str], uid: int) -> None:
    if uid:
        os.setgroups([])
        os.setresuid(uid, uid, uid)
    elif without:
        lost = sum(1 << NUMBERS[name] for name in without)
        kept = ((1 << 41) - 1) & ~lost
        words = [kept & 0xFFFFFFFF, kept & 0xFFFFFFFF, 0, kept >> 32, kept >> 32, 0]
        head = (ctypes.c_uint32 * 2)(_CAP_VERSION_3, 0)
        data = (ctypes.c_uint32 * 6)(*words)
        if _libc.syscall(_NR_CAPSET, ctypes.byref(head), ctypes.byref(data)) < 0:
            raise OSError(ctypes.get_errno(), "capset")
