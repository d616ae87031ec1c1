# SPDX-License-Identifier: GPL-2.0-or-later
"""Boot the lab and run one command in it.

virtme-ng boots the kernel over the host's root, read-only, through 9p. Its
``virtme-run`` is called rather than ``vng``, which joins its arguments into a
shell command and reads a configuration of the user's. Only pipes are given to
it as standard streams: QEMU would truncate files and make terminals
non-blocking. The console's text is kept; a run that fails shows its end.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from kvmbpf.closing import Closing
from kvmbpf.errors import KernelCallError, LabError, StateError, UnsupportedError
from kvmbpf.lab.accel import Accelerator, choose_accelerator, runs_shadowed_guests
from kvmbpf.lab.cache import in_use
from kvmbpf.lab.guest import (
    DMESG,
    ERR_PORT,
    EXCHANGE,
    OUT_PORT,
    RW_TAG,
    STARTED,
    STATUS,
    TTY_PORT,
    guest_script,
)
from kvmbpf.lab.kernel import LAB_DEBUG_VARIABLE, LAB_KERNEL_VARIABLE, LabKernel, read_kernel
from kvmbpf.lab.klog import kernel_complaints, last_lines
from kvmbpf.lab.pump import Pump
from kvmbpf.mends import mend
from kvmbpf.writing import write_own

IN_LAB_VARIABLE = "KVMBPF_IN_LAB"
_POLL_S = 0.05
# Each process of the chain down to QEMU dies with the one above it, so that no
# lab outlives a manager that was killed.
_DIES_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")
# Writable in the lab, thrown away with it; the rest of the root is read-only.
_OVERLAID = ("/etc", "/home", "/root", "/srv", "/tmp", "/var")  # noqa: S108  a mount point, no file of ours
# A CPU whose instructions are counted copies by loads and stores. With ERMS and FSRM
# kernel and libc copy by REP MOVSB, which a CPU retires as one instruction and QEMU
# counts once a byte: a copy of 3 MB would be 3 million.
_COUNTING_CPU = "max,-erms,-fsrm"
# Room for all that the kernel logs in hours of fuzzing: complaints are looked for in it.
_LOG_BUFFER = "log_buf_len=4M"
# virtme-run's tag for the files. It does not name it to the kernel, which takes it for a
# disk's name of its own accord, if it has a block layer.
_ROOT = "root=/dev/root"
# The root is read-only, so nothing is lost by caching it as a local disk:
# a third of the time to import pytest.
_ROOT_FLAGS = "version=9p2000.L,trans=virtio,access=any,msize=512000,cache=loose"


@dataclass(frozen=True)
class Allowance:
    """What a lab is given unless its user says otherwise.

    :param memory: as QEMU's ``-m`` takes it.
    :param boot_timeout_s: from the start of QEMU to that of the command, in seconds.
    :param end_timeout_s: from the command's end to QEMU's, in seconds.
    """

    memory: str
    boot_timeout_s: float
    end_timeout_s: float


# What a lab has unless its user, or the emulation of its CPU, has another wish.
CPUS = 2
# Under TCG the plain kernel boots in some 10 s and powers off in one; the debug
# kernel takes several times as long, and an eighth of its memory for KASAN.
PLAIN = Allowance("3G", 180.0, 30.0)
DEBUG = Allowance("4G", 600.0, 120.0)


def allowance(debug: bool) -> Allowance:
    """Return what a lab of the plain or the debug kernel is given."""
    return DEBUG if debug else PLAIN


@dataclass(frozen=True)
class LabResult:
    """How a run ended.

    :param status: the command's exit status; 128 + n when signal n ended it.
    :param dmesg: the lab's kernel log.
    :param console: all that its console showed.
    :param boot_s: from the start of QEMU to the start of the command, in seconds.
    """

    status: int
    dmesg: str
    console: str
    boot_s: float


class LabRun(Closing):
    """One boot of the lab with one command; a context manager that ends it.

    :param kernel: the kernel to boot.
    :param command: the command and its arguments.
    :param rw: the folder that stays writable; by default the current one.
    :param cwd: where the command runs; by default the current folder.
    :param icount: count instructions: one CPU, and one guest nanosecond is one
        executed instruction.
    :param cpus: the lab's CPUs (one under icount); by default CPUS, or one where a
        guest can be relied on in no other lab (see `runs_shadowed_guests`).
    :param nested_paging: let the lab's KVM use nested paging (NPT); by default where it
        can be relied on likewise.
    :param memory: its memory, as QEMU's ``-m`` takes it; by default what its kernel needs.
    :param boot_timeout_s: the longest that it may take to boot, in seconds; by
        default what its kernel needs.
    :param stdout: descriptor that gets the command's output; stays the caller's.
    :param stderr: descriptor that gets its errors; stays the caller's.
    :param environment: added to the command's environment.
    :param terminal: descriptor of a connected socket that the command finds as the
        virtio-serial port `TTY_PORT`; stays the caller's.
    """

    def __init__(
        self,
        kernel: LabKernel,
        command: Sequence[str],
        *,
        rw: Path | None = None,
        cwd: Path | None = None,
        icount: bool = False,
        cpus: int | None = None,
        nested_paging: bool | None = None,
        memory: str | None = None,
        boot_timeout_s: float | None = None,
        stdout: int = 1,
        stderr: int = 2,
        environment: Mapping[str, str] | None = None,
        terminal: int | None = None,
    ) -> None:
        given = allowance(kernel.debug)
        self.kernel = kernel
        self.command = list(command)
        self.cwd = (cwd or Path.cwd()).resolve()
        self.rw = (rw or Path.cwd()).resolve()
        self.icount = icount
        self.cpus = 1 if icount else cpus
        self.nested_paging = nested_paging
        self.memory = memory if memory is not None else given.memory
        self.boot_timeout_s = boot_timeout_s if boot_timeout_s is not None else given.boot_timeout_s
        self._end_timeout_s = given.end_timeout_s
        self.accelerator = (
            Accelerator("tcg", "instructions are counted") if icount else choose_accelerator()
        )
        self._stdout, self._stderr = stdout, stderr
        self._environment = dict(environment or {})
        self._terminal = terminal
        self._stack = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._pumps: list[Pump] = []
        self._console: Pump | None = None
        self._exchange = Path()
        self._begin = 0.0
        self._boot_s: float | None = None
        if not self.rw.is_dir():
            raise LabError(f"{self.rw}: not a folder, so it cannot be the lab's writable one")

    def start(self) -> None:
        """Start QEMU; returns at once.

        :raise StateError: when it was started before.
        :raise UnsupportedError: when virtme-ng or QEMU is missing.
        :raise LabError: when the kernel was removed from the cache.
        """
        if self._process is not None or self._begin:
            raise StateError("this run of the lab was started before")
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        virtme, qemu = find_virtme_run(), find_qemu()
        emulated = self.accelerator.name == "tcg"
        shadows = emulated and self.cpus != 1 and runs_shadowed_guests(qemu)
        if self.cpus is None:
            self.cpus = CPUS if shadows or not emulated else 1
        if self.nested_paging is None:
            self.nested_paging = not shadows
        self._stack.enter_context(in_use(self.kernel.folder))
        if read_kernel(self.kernel.folder) is None:
            raise LabError(f"{self.kernel.folder}: this kernel was just removed; build it again")
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="kvmbpf-lab-"))
        self._exchange = Path(folder)
        script = guest_script(
            self.command, rw=self.rw, cwd=self.cwd, environment=self._guest_environment()
        )
        write_own(self._exchange / "start.sh", script)
        wrapper = self._exchange / "qemu"
        write_own(wrapper, f'#!/bin/sh\nexec {shlex.join([*_DIES_WITH_PARENT, qemu])} "$@"\n')
        wrapper.chmod(0o700)
        self._console = self._stack.enter_context(Pump(None))
        out = self._stack.enter_context(Pump(self._stdout))
        err = self._stack.enter_context(Pump(self._stderr))
        self._pumps = [out, err]
        writers = [out.writer, err.writer]
        self._begin = time.monotonic()
        self._process = subprocess.Popen(
            [*_DIES_WITH_PARENT, virtme, *self._virtme_arguments(wrapper, *writers)],
            stdin=subprocess.DEVNULL,
            stdout=self._console.writer,
            stderr=self._console.writer,
            pass_fds=[*writers, *([] if self._terminal is None else [self._terminal])],
            start_new_session=True,
            cwd="/",
            env=os.environ | {"TMPDIR": str(self._exchange)},
        )
        for pump in (self._console, out, err):
            pump.begin()

    def wait(
        self, timeout_s: float | None = None, *, idle: Callable[[float], None] = time.sleep
    ) -> LabResult:
        """Wait until the command ended and the lab went down.

        :param timeout_s: the longest time the whole run may take, in seconds.
        :param idle: called over and over to let some time pass, given in seconds.
        :raise LabError: when the lab did not boot, died, or took too long; ends
            with what its console showed last.
        :raise StateError: when it was not started.
        :raise KernelCallError: when what the command printed could not be written.
        """
        limit = None if timeout_s is None else self._begin + timeout_s
        while self.running():
            now = time.monotonic()
            if limit is not None and now > limit:
                raise self._failure(f"the command did not end within {timeout_s:g} s")
            if not self.booted() and now > self._begin + self.boot_timeout_s:
                raise self._failure(f"the lab did not boot within {self.boot_timeout_s:g} s")
            if (self._exchange / STATUS).exists():
                self._await_end()
                break
            idle(_POLL_S)
        self.booted()
        return self._result()

    def running(self) -> bool:
        """Tell whether QEMU runs.

        :raise StateError: when it was not started.
        """
        if self._process is None:
            raise StateError("this run of the lab was not started")
        return self._process.poll() is None

    def booted(self) -> bool:
        """Tell whether the command was started."""
        if self._boot_s is None:
            if not (self._exchange / STARTED).exists():
                return False
            self._boot_s = time.monotonic() - self._begin
        return True

    def console_text(self) -> str:
        """Return what the console showed so far."""
        return self._console.text() if self._console is not None else ""

    def console_tail(self, lines: int = 20) -> list[str]:
        """Return the last lines of the console."""
        return last_lines(self.console_text(), lines)

    def close(self) -> None:
        """End the lab if it runs, and remove what it used; closing twice is fine."""
        process = self._process
        if process is not None and process.poll() is None:
            for signum in (signal.SIGTERM, signal.SIGKILL):
                os.killpg(process.pid, signum)
                try:
                    process.wait(5)
                    break
                except subprocess.TimeoutExpired:
                    continue
        if process is not None:
            _end_group(process.pid)
        self._stack.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def _await_end(self) -> None:
        """Give QEMU time to end by itself, then end it: the result is there."""
        if self._process is None:
            return
        try:
            self._process.wait(self._end_timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(5)

    def _result(self) -> LabResult:
        for pump in self._pumps:
            pump.finish()
        status = _read(self._exchange / STATUS).strip()
        failed = _read(self._exchange / "failed").strip()
        if not status.isdigit():
            if failed:
                what = failed
            elif self.booted():
                what = "the lab went down before its command ended"
            else:
                what = "the lab went down while it booted"
            raise self._failure(what)
        for name, pump in zip(("output", "error"), self._pumps, strict=True):
            if pump.error is not None:
                code = pump.error.errno or 0
                raise KernelCallError(f"write(standard {name})", code, mend(code))
        dmesg = _read(self._exchange / DMESG)
        return LabResult(int(status), dmesg, self.console_text(), self._boot_s or 0.0)

    def _failure(self, what: str) -> LabError:
        complaints = kernel_complaints(self.console_text())
        if complaints:
            what = f"{what}; its kernel said: {complaints[0].strip()}"
        return LabError(what, self.console_tail())

    def _guest_environment(self) -> dict[str, str]:
        passed = {k: v for k, v in os.environ.items() if k.startswith("KVMBPF_")}
        passed.pop(LAB_DEBUG_VARIABLE, None)
        debug = {LAB_DEBUG_VARIABLE: "1"} if self.kernel.debug else {}
        return {
            "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            "HOME": str(Path.home()),
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            **passed,
            IN_LAB_VARIABLE: "1",
            LAB_KERNEL_VARIABLE: str(self.kernel.folder),
            **debug,
            **self._environment,
        }

    def _virtme_arguments(self, qemu: Path, out: int, err: int) -> list[str]:
        arguments = ["--qemu-bin", str(qemu), "--kimg", str(self.kernel.bzimage), "--mods", "none"]
        # The image's folder has a .config beside it: virtme-run takes both from there.
        arguments += ["--force-9p", "--disable-microvm", "--show-boot-console"]
        if self.accelerator.name == "tcg":
            arguments.append("--disable-kvm")
        arguments += ["--memory", self.memory, "--cpus", str(self.cpus)]
        for folder in _OVERLAID:
            if Path(folder).is_dir():
                arguments += ["--overlay-rwdir", folder]
        arguments += ["--rwdir", f"{EXCHANGE}={self._exchange}"]
        options = ["ignore_loglevel", _LOG_BUFFER, _ROOT, f"rootflags={_ROOT_FLAGS}"]
        if not self.nested_paging:
            options.append("kvm_amd.npt=0")
        for option in options:
            arguments += ["--kopt", option]
        arguments += ["--script-sh", f"sh {EXCHANGE}/start.sh"]
        return [*arguments, "--qemu-opts", *self._qemu_arguments(out, err)]

    def _qemu_arguments(self, out: int, err: int) -> list[str]:
        folder = str(self.rw).replace(",", ",,")
        arguments = ["-device", "virtio-serial-pci,id=kvmbpf"]
        for name, fd in ((OUT_PORT, out), (ERR_PORT, err)):
            identity = name.replace(".", "-")
            arguments += ["-chardev", f"file,id={identity},path=/proc/self/fd/{fd}"]
            arguments += ["-device", f"virtserialport,bus=kvmbpf.0,name={name},chardev={identity}"]
        if self._terminal is not None:
            arguments += ["-chardev", f"socket,id=kvmbpf-tty,fd={self._terminal}"]
            arguments += [
                "-device",
                f"virtserialport,bus=kvmbpf.0,name={TTY_PORT},chardev=kvmbpf-tty",
            ]
        share = f"local,id=kvmbpf-rw,path={folder},security_model=none,multidevs=remap"
        arguments += ["-fsdev", share]
        arguments += ["-device", f"virtio-9p-pci,fsdev=kvmbpf-rw,mount_tag={RW_TAG}"]
        if self.icount:
            arguments += ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"]
            arguments += ["-cpu", _COUNTING_CPU]
        return arguments


def find_virtme_run() -> str:
    """Return the path of ``virtme-run``, from this Python's environment or PATH.

    :raise UnsupportedError: when virtme-ng is not installed.
    """
    beside = Path(sys.executable).parent / "virtme-run"
    found = str(beside) if beside.is_file() else shutil.which("virtme-run")
    if found is None:
        raise UnsupportedError(
            "virtme-ng",
            found="nothing",
            needed="1.42 or newer",
            mend="install the lab extra: pip install -e .[lab]",
        )
    return found


def find_qemu() -> str:
    """Return the path of QEMU for x86_64.

    :raise UnsupportedError: when it is not installed.
    """
    found = shutil.which("qemu-system-x86_64")
    if found is None:
        raise UnsupportedError(
            "qemu-system-x86_64",
            found="nothing on PATH",
            needed="QEMU 7.2 or newer",
            mend="apt-get install qemu-system-x86",
        )
    return found


def _end_group(group: int) -> None:
    """End what may be left of a process group."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
