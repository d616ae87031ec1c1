# SPDX-License-Identifier: GPL-2.0-or-later
"""The demonstration's guest: a stock QEMU that `kvmbpf run` started.

The manager is a process of its own, so that the story can kill it; the guest
goes on then, until it powers itself off or the story ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from kvmbpf.closing import Closing
from kvmbpf.demo.parts import Parts
from kvmbpf.demo.telling import heading, show, show_command
from kvmbpf.errors import VmmError
from kvmbpf.lab import require_kernel
from kvmbpf.manager import Store, list_devices
from qemu_glue.console import GuestConsole
from qemu_glue.guest import GuestConfig, control_port, kernel_log
from qemu_glue.launch import QEMU_X86_64
from qemu_glue.runtime import RuntimeDir

_START_S = 60.0
_BOOT_S = 120.0
_POLL_S = 0.05


class StoryGuest(Closing):
    """A guest with the demo device, and its manager; a context manager.

    :param parts: the device's objects, and the guest's files.
    :param store: what is attached.
    :param vm: the VM's name.
    :param cpus: how many vCPUs it has.
    :raise VmmError: when the guest does not come up.
    """

    def __init__(self, parts: Parts, store: Store, vm: str, cpus: int) -> None:
        kernel = require_kernel()
        config = GuestConfig(kernel.bzimage, parts.initramfs, smp=cpus, memory_mib=kernel.guest_mib)
        options = ["run", "--device", parts.v1.name, "--vm", vm, "--", QEMU_X86_64]
        self.pid = 0
        with contextlib.ExitStack() as stack:
            runtime = stack.enter_context(RuntimeDir())
            self._said = runtime.path / "manager.log"
            heading("stock QEMU is started with the device; the manager stays beside it")
            show_command([*options, "-M", "q35,accel=kvm", "..."])
            self._manager = self._start([*options, *config.arguments(runtime)], parts.folder)
            stack.callback(self._end)
            self._await(control_port(runtime).exists)
            self.console: GuestConsole = stack.enter_context(
                GuestConsole(control_port(runtime), kernel_log(runtime))
            )
            self._await(lambda: bool(list_devices(store)))
            self.pid = list_devices(store)[0].record.pid
            self.console.wait_ready(_BOOT_S)
            for line in self._output():
                show(line)
            self._stack = stack.pop_all()

    def kill_manager(self) -> int:
        """Kill the manager, not the guest; return its exit status (-9)."""
        self._manager.send_signal(signal.SIGKILL)
        return self._manager.wait()

    def close(self) -> None:
        """End what still runs; closing twice is fine."""
        self._stack.close()

    def _start(self, arguments: list[str], cwd: Path) -> subprocess.Popen[bytes]:
        with self._said.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "kvmbpf", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
            )

    def _await(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_S
        while not condition():
            status = self._manager.poll()
            if status is not None:
                raise VmmError(f"kvmbpf run exited with {status}: {' | '.join(self._output())}")
            if time.monotonic() >= deadline:
                raise VmmError(f"kvmbpf run did not start the guest in {_START_S:g} s")
            time.sleep(_POLL_S)

    def _output(self) -> list[str]:
        return self._said.read_text(encoding="utf-8", errors="replace").splitlines()

    def _end(self) -> None:
        self._manager.kill()
        self._manager.wait()
        # It is nobody's child any more, once its manager was killed.
        if self.pid and _is_qemu(self.pid):
            os.kill(self.pid, signal.SIGKILL)
            await_end(self.pid)


def await_end(pid: int, timeout: float = 60.0) -> None:
    """Wait until a QEMU that is no child of this process has ended.

    :param pid: of the process (C ``pid_t``).
    :param timeout: in seconds.
    :raise VmmError: when it still runs then.
    """
    deadline = time.monotonic() + timeout
    while _is_qemu(pid):
        if time.monotonic() >= deadline:
            raise VmmError(f"QEMU (pid {pid}) still runs after {timeout:g} s")
        time.sleep(_POLL_S)


def _is_qemu(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    name, _, rest = state.partition("(")[2].rpartition(")")
    return name.startswith("qemu") and not rest.startswith(" Z")
