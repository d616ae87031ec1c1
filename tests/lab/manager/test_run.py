# SPDX-License-Identifier: GPL-2.0-or-later
"""`kvmbpf run` and `kvmbpf watch`: resets, ends, signals, and machines, with a stock QEMU."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kvmbpf.demo.driver import Driver
from kvmbpf.demo.parts import PARTS_VARIABLE, Parts, given_parts
from kvmbpf.lab import require_kernel
from kvmbpf.manager import Store, device_state
from qemu_glue.console import GuestConsole
from qemu_glue.follow import LivingProcess
from qemu_glue.guest import GuestConfig, control_port, kernel_log
from qemu_glue.qmp import QmpSession
from qemu_glue.runtime import RuntimeDir
from tests.lab.commands import Commands, commands
from tests.lab.objects import device_object
from tests.lab.pace import PACE

QEMU = "qemu-system-x86_64"
BARE = ("-nodefaults", "-display", "none")
STRANGER = 4711
NO_RESET = "the guest was reset: device steered has no reset of its own, and stays as it is"


@pytest.fixture
def kvmbpf(tmp_path: Path) -> Iterator[Commands]:
    with commands(tmp_path) as found:
        yield found


@pytest.fixture
def runtime() -> Iterator[RuntimeDir]:
    with RuntimeDir() as found:
        yield found


def until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60 * PACE
    while not condition():
        assert process.poll() is None, "it ended"
        assert time.monotonic() < deadline
        time.sleep(0.05)


@dataclass
class Running:
    """A `kvmbpf run` with a QEMU that serves a second QMP socket."""

    process: subprocess.Popen[bytes]
    log: Path
    qmp: Path
    pid: int = 0

    def said(self) -> list[str]:
        """Return what the command itself said so far."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line.removeprefix("kvmbpf: ") for line in lines if line.startswith("kvmbpf: ")]

    def until(self, text: str) -> None:
        """Wait until it has said something."""
        until(lambda: any(text in line for line in self.said()), self.process)


@contextlib.contextmanager
def running(
    kvmbpf: Commands,
    runtime: RuntimeDir,
    device: str,
    *arguments: str,
    before: tuple[str, ...] = (),
    attached: int = 1,
) -> Iterator[Running]:
    """Run QEMU with a device; end with all that is left of both."""
    qmp = runtime.socket("second")
    second = ("-qmp", f"unix:{qmp},server=on,wait=off")
    log = runtime.path / "log"
    process = kvmbpf.start(
        *("run", "--vm", "vm", *before, "--device", device),
        *("--", QEMU, *BARE, *second, *arguments),
        log=log,
    )
    found = Running(process, log, qmp)
    try:
        until(lambda: len([1 for line in found.said() if "attached" in line]) == attached, process)
        found.pid = kvmbpf.listed()[0]["pid"]
        yield found
    finally:
        process.kill()
        process.wait()
        if found.pid and Path(f"/proc/{found.pid}").exists():
            with LivingProcess(found.pid) as qemu:
                os.kill(found.pid, signal.SIGKILL)
                qemu.wait(60 * PACE)


def steered() -> str:
    return str(device_object("steered_v1"))


def test_a_reset_of_the_guest_reaches_its_devices(kvmbpf: Commands, runtime: RuntimeDir) -> None:
    able, store = str(device_object("able")), Store(kvmbpf.run_dir, kvmbpf.bpffs)
    two = ("--device", steered())
    # Stopped: SeaBIOS answers a reset by one more.
    machine = ("-M", "q35,accel=kvm", "-S")
    with running(kvmbpf, runtime, able, *machine, before=two, attached=2) as found:
        said = f"{NO_RESET.partition(': ')[0]}: device able too; {NO_RESET.partition(': ')[2]}"
        with QmpSession.connect(found.qmp) as qmp:
            assert device_state(store, "vm", "able")["resets"] == 0
            qmp.execute("system_reset")
            until(lambda: found.said().count(said) == 1, found.process)
            assert device_state(store, "vm", "able")["resets"] == 1
            qmp.execute("system_reset")
            until(lambda: found.said().count(said) == 2, found.process)
            assert device_state(store, "vm", "able")["resets"] == 2
            qmp.execute("quit")
        assert found.process.wait(60 * PACE) == 0
        assert found.said()[-1] == "the guest shut down: detached able, steered"
        assert kvmbpf.listed() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_qemu_cleanly(
    kvmbpf: Commands, runtime: RuntimeDir, number: signal.Signals
) -> None:
    with running(kvmbpf, runtime, steered(), "-M", "q35,accel=kvm") as found:
        found.process.send_signal(number)
        assert found.process.wait(60 * PACE) == 0
        assert f"terminating on signal {number.value} from" in found.log.read_text()
        assert not Path(f"/proc/{found.pid}").exists()


def test_ctrl_c_reaches_both(kvmbpf: Commands, runtime: RuntimeDir) -> None:
    with running(kvmbpf, runtime, steered(), "-M", "q35,accel=kvm") as found:
        os.killpg(found.process.pid, signal.SIGINT)
        assert found.process.wait(60 * PACE) == 0
        assert not Path(f"/proc/{found.pid}").exists()


def test_a_killed_qemu_is_told_by_the_status(kvmbpf: Commands, runtime: RuntimeDir) -> None:
    with running(kvmbpf, runtime, steered(), "-M", "q35,accel=kvm") as found:
        os.kill(found.pid, signal.SIGKILL)
        assert found.process.wait(60 * PACE) == 128 + signal.SIGKILL


def test_a_guest_that_is_to_stay_stopped_does(kvmbpf: Commands, runtime: RuntimeDir) -> None:
    with (
        running(kvmbpf, runtime, steered(), "-M", "q35,accel=kvm", "-S") as found,
        QmpSession.connect(found.qmp) as qmp,
    ):
        found.until("the guest is stopped, as -S asks")
        assert qmp.execute("query-status")["status"] == "prelaunch"
        qmp.execute("cont")
        assert qmp.execute("query-status")["status"] == "running"
        qmp.execute("quit")
        assert found.process.wait(60 * PACE) == 0


def test_a_place_that_is_taken_has_qemu_started_once_more(
    kvmbpf: Commands, runtime: RuntimeDir
) -> None:
    sound = ("-audiodev", "none,id=a", "-device", "sb16,irq=5,audiodev=a")
    with running(kvmbpf, runtime, steered(), "-M", "q35,accel=kvm", *sound) as found:
        assert found.said()[0] == (
            "device steered: irq 0: gsi 5 is taken by QEMU's sb16: QEMU is started once more"
        )
        assert [irq["gsi"] for irq in kvmbpf.listed()[0]["irqs"]] == [6, 3]


def test_a_device_that_is_refused_ends_qemu(kvmbpf: Commands) -> None:
    """The first of two is attached by then, and goes with the VM."""
    done = kvmbpf.run(
        *("run", "--device", steered(), "--device", device_object("refused_device")),
        *("--", QEMU, *BARE, "-M", "q35,accel=kvm"),
    )
    assert done.returncode == 11
    assert "refused_device.bpf.o" in done.stderr
    assert "terminating" not in done.stderr
    assert kvmbpf.listed() == []


@pytest.mark.parametrize("gsis", [(5, 16), (17, 5)])
def test_a_guest_on_pc_binds_its_driver(
    kvmbpf: Commands, runtime: RuntimeDir, gsis: tuple[int, int]
) -> None:
    parts: Parts = given_parts(os.environ.get(PARTS_VARIABLE))
    kernel = require_kernel()
    config = GuestConfig(kernel.bzimage, parts.initramfs, machine="pc", memory_mib=kernel.guest_mib)
    device = f"{parts.v1},gsi={gsis[0]},gsi={gsis[1]}"
    with (
        running(kvmbpf, runtime, device, "-S", *config.arguments(runtime)) as found,
        GuestConsole(control_port(runtime), kernel_log(runtime)) as console,
    ):
        with QmpSession.connect(found.qmp) as qmp:
            qmp.execute("cont")
            console.wait_ready(120 * PACE)
            driver = Driver(console)
            driver.write("doorbell", 10)
            assert int(driver.read("interrupts")) == 10
            qmp.execute("quit")
        assert found.process.wait(60 * PACE) == 0


def test_a_guest_that_reboots_finds_its_device_as_after_power_on(
    kvmbpf: Commands, runtime: RuntimeDir
) -> None:
    parts: Parts = given_parts(os.environ.get(PARTS_VARIABLE))
    kernel = require_kernel()
    config = GuestConfig(kernel.bzimage, parts.initramfs, memory_mib=kernel.guest_mib)
    arguments = [word for word in config.arguments(runtime) if word != "-no-reboot"]
    store = Store(kvmbpf.run_dir, kvmbpf.bpffs)
    with (
        running(kvmbpf, runtime, str(parts.v1), "-S", *arguments) as found,
        GuestConsole(control_port(runtime), kernel_log(runtime)) as console,
        QmpSession.connect(found.qmp) as qmp,
    ):
        qmp.execute("cont")
        console.wait_ready(120 * PACE)
        driver = Driver(console)
        driver.write("doorbell", 10)
        driver.write("tick_us", 5000)
        assert driver.fill(10)["records"] == 10
        # At once, with the device at work: no driver of the guest's turns it off.
        console.post("reboot -f")
        found.until("the guest was reset: device demo too")
        console.wait_ready(120 * PACE)
        assert device_state(store, "vm", "demo")["resets"] > 0
        driver = Driver(console)
        assert (driver.number("doorbells"), driver.number("tick_us")) == (0, 0)
        driver.write("doorbell", 5)
        assert (driver.number("doorbells"), driver.number("interrupts")) == (5, 5)
        assert driver.fill(10) | {"records": 10, "lost": 0, "wrong": 0} == driver.fill(0)
        qmp.execute("quit")
        assert found.process.wait(60 * PACE) == 0


@contextlib.contextmanager
def strangers_qemu(runtime: RuntimeDir, name: str) -> Iterator[tuple[int, list[Path]]]:
    """Give a QEMU of another user's, sandboxed, in a cgroup of its own: pid, QMP sockets."""
    folder = runtime.path.with_name(f"{runtime.path.name}-{name}")
    folder.mkdir()
    os.chown(folder, STRANGER, STRANGER)
    kvm = Path("/dev/kvm")
    mode = kvm.stat().st_mode
    kvm.chmod(0o666)
    group = Path("/sys/fs/cgroup") / folder.name
    sockets = [folder / "one", folder / "two"]
    user = ("--reuid", str(STRANGER), "--regid", str(STRANGER), "--clear-groups")
    arguments = ["-M", "q35,accel=kvm", *BARE, "-name", f"guest={name}", "-sandbox", "on"]
    for path in sockets:
        arguments += ["-qmp", f"unix:{path},server=on,wait=off"]
    process = subprocess.Popen(["setpriv", *user, QEMU, *arguments])
    try:
        until(lambda: sockets[1].exists(), process)
        group.mkdir()
        (group / "cgroup.procs").write_text(str(process.pid))
        yield process.pid, sockets
    finally:
        process.kill()
        process.wait()
        kvm.chmod(mode)
        group.rmdir()
        for path in sockets:
            path.unlink(missing_ok=True)
        folder.rmdir()


CHECKED = "place checked against the devices of QEMU "


def test_another_users_sandboxed_qemu_is_attached_to_and_watched(
    kvmbpf: Commands, runtime: RuntimeDir
) -> None:
    with strangers_qemu(runtime, "web1") as (pid, sockets):
        said = kvmbpf.ok("attach", steered(), "--qmp", sockets[0]).splitlines()
        assert said[0].startswith(f"attached to VM web1 (pid {pid}): device steered ")
        assert said[1] == "backend kernel: KVM answers its accesses from now on"
        assert said[2].startswith(CHECKED)
        assert said[2].endswith("(pc-q35-7.2)") or "pc-q35-" in said[2]
        kvmbpf.ok("detach", "steered")

        # By its name; its own sockets are found on its command line.
        assert CHECKED in kvmbpf.ok("attach", steered(), "--vm", "web1")
        kvmbpf.ok("detach", "steered")
        with contextlib.ExitStack() as stack:
            for path in sockets:
                stack.enter_context(QmpSession.connect(path))
            said = kvmbpf.ok("attach", steered(), "--vm", "web1").splitlines()
            assert said[2] == (
                "place not checked against the VMM's own devices: its QMP socket "
                f"{sockets[1]} is in use by another client"
            )
        clash = ("attach", steered(), "--vm", "web1", "--at", "0xfed00000")
        assert kvmbpf.refused(*clash, code=17) == (
            "device steered: region 0 at 0xfed00000..0xfed00fff overlaps QEMU's hpet at "
            "0xfed00000..0xfed003ff; give another address with --at"
        )
        _watch(kvmbpf, runtime, sockets)


def _watch(kvmbpf: Commands, runtime: RuntimeDir, sockets: list[Path]) -> None:
    log = runtime.path / "watch.log"
    watcher = kvmbpf.start("watch", "--qmp", sockets[0], log=log)
    try:
        until(lambda: "watching VM web1" in log.read_text(), watcher)
        with QmpSession.connect(sockets[1]) as qmp:
            qmp.execute("system_reset")
            until(lambda: NO_RESET in log.read_text(), watcher)
            # Ctrl-C ends the watcher, and nothing else.
            watcher.send_signal(signal.SIGINT)
            assert watcher.wait(60 * PACE) == 130
            assert [one["device"] for one in kvmbpf.listed()] == ["steered"]
            watcher = kvmbpf.start("watch", "--vm", "web1", log=log)
            until(lambda: "watching VM web1" in log.read_text(), watcher)
            qmp.execute("quit")
        assert watcher.wait(60 * PACE) == 0
        assert log.read_text().splitlines()[1] == "kvmbpf: the guest shut down: detached steered"
        assert kvmbpf.listed() == []
    finally:
        watcher.kill()
        watcher.wait()


def test_attach_stays_and_watches_if_it_is_told_to(kvmbpf: Commands, runtime: RuntimeDir) -> None:
    log = runtime.path / "attach.log"
    with strangers_qemu(runtime, "web2") as (_, sockets):
        watcher = kvmbpf.start("attach", steered(), "--qmp", sockets[0], "--watch", log=log)
        try:
            until(lambda: CHECKED in log.read_text(), watcher)
            with QmpSession.connect(sockets[1]) as qmp:
                qmp.execute("system_reset")
                until(lambda: NO_RESET in log.read_text(), watcher)
                qmp.execute("quit")
            assert watcher.wait(60 * PACE) == 0
        finally:
            watcher.kill()
            watcher.wait()
        assert kvmbpf.listed() == []
