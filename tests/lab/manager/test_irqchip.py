# SPDX-License-Identifier: GPL-2.0-or-later
"""Level- and edge-triggered lines with the interrupt controllers in KVM, split, and in QEMU.

With them in KVM a guest gets every interrupt. Elsewhere a level-triggered line is refused
before anything is attached; with no controller in KVM, so is any.
"""

from __future__ import annotations

import json
import re

import pytest

from kvmbpf.manager import Store
from tests.lab.line_guest import VM, WHOLE, counts, line_guest, line_qemu
from tests.lab.managed import kvmbpf
from tests.lab.objects import device_object

IN_KVM = [
    ("q35,accel=kvm", 16),
    ("microvm,accel=kvm,kernel-irqchip=on", 13),
]
SPLIT = [
    ("q35,accel=kvm,kernel-irqchip=split", 16),
    ("microvm,accel=kvm", 13),
]
LOST = (
    "kvmbpf: device lvl: level-triggered irq 0: found a VM whose IO-APIC is in the VMM "
    "(kernel-irqchip=split), where such a line is lost after its first interrupt, needed one "
    "whose IO-APIC is in KVM; start QEMU with kernel-irqchip=on, as -M {machine},"
    "kernel-irqchip=on, or make the interrupts edge-triggered (.level_irqs = 0)\n"
)
NONE = (
    "kvmbpf: device lvl: interrupts: found a VM that has no interrupt controller in KVM "
    "(kernel-irqchip=off), needed one that has; start QEMU with kernel-irqchip=on, as "
    "-M {machine},kernel-irqchip=on\n"
)


@pytest.mark.parametrize(("machine", "gsi"), IN_KVM, ids=[name for name, _ in IN_KVM])
def test_a_level_line_is_raised_again_while_it_is_up(store: Store, machine: str, gsi: int) -> None:
    guest = str(line_guest("level", gsi))
    with line_qemu(["-M", machine, "-kernel", guest]) as (qemu, qmp):
        done = kvmbpf(store, "attach", str(device_object("lvl")), *target(qemu.pid, gsi))
        assert (done.status, done.err) == (0, "")
        assert "note:" not in done.out
        qmp.execute("cont")
        assert counts(store) == WHOLE
        assert irqchip(store) == ("kernel", None)
        shown = kvmbpf(store, "info", "lvl").out
        assert re.search(r"^irqchip +kernel: all of it in KVM$", shown, re.M)


def test_a_level_line_works_in_a_guest_that_runs_already(store: Store) -> None:
    """It rings until it is heard; the device goes, and comes again."""
    with line_qemu(["-M", "q35,accel=kvm", "-kernel", str(line_guest("level", 16))]) as (qemu, qmp):
        qmp.execute("cont")
        attach = ("attach", str(device_object("lvl")), *target(qemu.pid, 16))
        assert kvmbpf(store, *attach).status == 0
        assert counts(store) == WHOLE
        assert kvmbpf(store, "detach", "lvl").status == 0
        assert kvmbpf(store, *attach).status == 0
        assert irqchip(store) == ("kernel", None)


@pytest.mark.parametrize("machine", ["q35,accel=kvm", "pc,accel=kvm"])
@pytest.mark.parametrize("trigger", ["level", "edge"])
def test_a_guest_that_knows_the_pic_only(store: Store, machine: str, trigger: str) -> None:
    device = device_object("lvl" if trigger == "level" else "lvl_edge")
    arguments = ["-M", machine, "-kernel", str(line_guest(trigger, "pic"))]
    with line_qemu(arguments) as (qemu, qmp):
        done = kvmbpf(store, "attach", str(device), *target(qemu.pid, 5))
        assert (done.status, done.err) == (0, "")
        qmp.execute("cont")
        assert counts(store) == WHOLE


@pytest.mark.parametrize(("machine", "gsi"), SPLIT, ids=[name for name, _ in SPLIT])
def test_a_level_line_is_refused_where_the_io_apic_is_qemus(
    store: Store, machine: str, gsi: int
) -> None:
    with line_qemu(["-M", machine]) as (qemu, _):
        done = kvmbpf(store, "attach", str(device_object("lvl")), *target(qemu.pid, gsi))
        name = machine.partition(",")[0]
        assert (done.status, done.out, done.err) == (12, "", LOST.format(machine=name))
        assert store.vms() == []


@pytest.mark.parametrize(
    ("machine", "gsi"), [*IN_KVM, *SPLIT], ids=[name for name, _ in (*IN_KVM, *SPLIT)]
)
def test_an_edge_line_works_wherever_the_io_apic_is(store: Store, machine: str, gsi: int) -> None:
    guest = str(line_guest("edge", gsi))
    with line_qemu(["-M", machine, "-kernel", guest]) as (qemu, qmp):
        done = kvmbpf(store, "attach", str(device_object("lvl_edge")), *target(qemu.pid, gsi))
        assert (done.status, done.err) == (0, "")
        qmp.execute("cont")
        assert counts(store) == WHOLE
        assert irqchip(store)[0] == ("kernel" if (machine, gsi) in IN_KVM else "split")
        # A version with another trigger is none of this device.
        done = kvmbpf(store, "update", str(device_object("lvl")))
        assert (done.status, done.out) == (13, "")
        assert done.err.endswith("attached device: irqs were ['edge'], are ['level']\n")


@pytest.mark.parametrize("name", ["lvl", "lvl_edge"])
def test_any_line_is_refused_where_kvm_has_no_controller(store: Store, name: str) -> None:
    with line_qemu(["-M", "q35,accel=kvm,kernel-irqchip=off"]) as (qemu, _):
        done = kvmbpf(store, "attach", str(device_object(name)), *target(qemu.pid, 16))
        assert (done.status, done.out, done.err) == (12, "", NONE.format(machine="q35"))
        assert store.vms() == []


def test_who_may_not_ask_kvm_is_told_why(store: Store) -> None:
    with line_qemu(["-M", "q35,accel=kvm"]) as (qemu, _):
        device = str(device_object("lvl"))
        assert kvmbpf(store, "attach", device, *target(qemu.pid, 16)).status == 0
        chip, why = irqchip(store, without=("CAP_SYS_PTRACE",))
        assert chip == "unknown"
        assert why is not None
        assert "you lack CAP_SYS_PTRACE" in why


def test_a_device_without_irqs_needs_no_controller(store: Store) -> None:
    with line_qemu(["-M", "q35,accel=kvm,kernel-irqchip=off"]) as (qemu, _):
        attach = ("attach", str(device_object("mapped_v1")), "--pid", str(qemu.pid), "--vm", VM)
        assert kvmbpf(store, *attach).status == 0
        assert irqchip(store, "mapped") == (None, None)


def target(pid: int, gsi: int) -> list[str]:
    return ["--pid", str(pid), "--vm", VM, "--gsi", str(gsi)]


def irqchip(
    store: Store, device: str = "lvl", without: tuple[str, ...] = ()
) -> tuple[str | None, str | None]:
    """Return what `kvmbpf info --json` says of the controller."""
    done = kvmbpf(store, "info", device, "--json", without=without)
    assert (done.status, done.err) == (0, "")
    found = json.loads(done.out)
    return found["irqchip"], found["no_irqchip"]
