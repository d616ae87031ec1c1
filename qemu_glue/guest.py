# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo guest: a small Linux in a stock QEMU, obeying a control port.

The machine is q35 or pc (the microvm machine ignores -acpitable), stripped of
what the guest does not use, since each device costs boot time where
virtualisation is nested in emulation. ttyS0 (irq 4) is the kernel log, a file; ttyS1 (irq 3)
is the control port, a socket. gsi 5 stays free for a device.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kvmbpf.closing import Closing
from qemu_glue.console import GuestConsole
from qemu_glue.launch import QEMU_X86_64, QemuProcess
from qemu_glue.qmp import QmpSession
from qemu_glue.runtime import RuntimeDir

_MACHINE = {
    "q35": "q35,hpet=off,usb=off,vmport=off,sata=off,smbus=off",
    "pc": "pc,hpet=off,usb=off,vmport=off,smbus=off",
}
# nohz=off: where SVM is emulated, an interrupt may come between the STI and the HLT of an
# idle CPU (VMRUN of QEMU 7.2 does not read the interrupt shadow). What it was to wake up
# sleeps then until the next one: a tick that does not stop brings that soon.
_CMDLINE = "quiet console=ttyS0 panic=-1 no_timer_check tsc=reliable nohz=off"


@dataclass(frozen=True)
class GuestConfig:
    """What a demo guest is made of.

    :param kernel: the guest's bzImage.
    :param initramfs: made by `kvmbpf.demo.guest_files.build_initramfs`.
    :param machine: ``q35`` or ``pc``.
    :param accel: QEMU's accelerator, ``kvm`` or ``tcg``.
    :param cpu: QEMU's CPU model; by `accel` when None.
    :param smp: number of vCPUs.
    :param memory_mib: RAM, in MiB.
    :param acpi_tables: compiled tables (AML) that tell the guest of devices.
    :param cmdline: more for the kernel's command line.
    :param extra: more arguments for QEMU.
    """

    kernel: Path
    initramfs: Path
    machine: str = "q35"
    accel: str = "kvm"
    cpu: str | None = None
    smp: int = 1
    memory_mib: int = 128
    acpi_tables: Sequence[Path] = field(default=())
    cmdline: str = ""
    extra: Sequence[str] = field(default=())

    def arguments(self, runtime: RuntimeDir) -> list[str]:
        """Return QEMU's arguments, with the guest's ports in `runtime`."""
        # No XSAVE: nested in an emulated host, its sizes do not add up, and the
        # guest's kernel warns of that at length. No TSC deadline: a host that
        # measured its TSC again after its KVM was up sets such timers for far too
        # late (KVM says "user requested TSC rate below hardware speed").
        cpu = self.cpu or ("host,xsave=off,tsc-deadline=off" if self.accel == "kvm" else "max")
        arguments = ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
        arguments += ["-machine", f"{_MACHINE[self.machine]},accel={self.accel}", "-cpu", cpu]
        arguments += ["-smp", str(self.smp), "-m", f"{self.memory_mib}M"]
        arguments += ["-kernel", str(self.kernel), "-initrd", str(self.initramfs)]
        arguments += ["-append", f"{_CMDLINE} {self.cmdline}".strip()]
        arguments += ["-serial", f"file:{kernel_log(runtime)}"]
        arguments += ["-serial", f"unix:{control_port(runtime)},server=on,wait=off"]
        for table in self.acpi_tables:
            arguments += ["-acpitable", f"file={table}"]
        return [*arguments, *self.extra]


def kernel_log(runtime: RuntimeDir) -> Path:
    """Return the file that takes the guest's kernel log."""
    return runtime.path / "kernel.log"


def control_port(runtime: RuntimeDir) -> Path:
    """Return the socket of the guest's control port."""
    return runtime.socket("control")


class DemoGuest(Closing):
    """A demo guest's QEMU, QMP session and console; a context manager.

    Started stopped: attach devices to `pid`, then call `boot`. Leaving the
    context ends QEMU and removes its sockets and logs.

    :param config: what it is made of.
    :param runtime_dir: where sockets and logs go, and stay; a temporary
        directory when None.
    :param program: the QEMU to run.
    :raise VmmError: when QEMU does not start.
    """

    def __init__(
        self,
        config: GuestConfig,
        *,
        runtime_dir: Path | None = None,
        program: str = QEMU_X86_64,
    ) -> None:
        self.config = config
        with contextlib.ExitStack() as stack:
            self.runtime = stack.enter_context(RuntimeDir(runtime_dir))
            self.qemu = stack.enter_context(
                QemuProcess(config.arguments(self.runtime), self.runtime, program=program)
            )
            self.qmp: QmpSession = stack.enter_context(self.qemu.connect())
            self.console = stack.enter_context(
                GuestConsole(control_port(self.runtime), kernel_log(self.runtime))
            )
            self._stack = stack.pop_all()

    @property
    def pid(self) -> int:
        """QEMU's process id (C ``pid_t``)."""
        return self.qemu.pid

    def boot(self, timeout: float = 120.0) -> None:
        """Let the guest run and wait until it obeys commands.

        :param timeout: in seconds.
        :raise VmmError: when it does not come up in time, or QEMU went away.
        """
        self.qmp.execute("cont")
        self.console.wait_ready(timeout)

    def power_off(self, timeout: float = 120.0) -> int:
        """Have the guest power itself off; return QEMU's exit status.

        :param timeout: in seconds.
        :raise StateError: when QEMU still runs then.
        """
        self.console.post("poweroff -f")
        return self.qemu.wait(timeout)

    def close(self) -> None:
        """End QEMU and let go of everything; closing twice is fine."""
        self._stack.close()
