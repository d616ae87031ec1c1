# SPDX-License-Identifier: GPL-2.0-or-later
"""`attach` and `run` refuse what would lose interrupts.

That is before KVM is asked for a device, so it shows on a kernel without devices too. What
is not refused is in tests/lab/manager/test_irqchip.py.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kvmbpf.author.compile import compile_device
from kvmbpf.kernel.kvm import Kvm
from qemu_glue.vmms import running_qemus
from tests.kvm.test_irqchip import stopped_qemu
from tests.split_irqchip import split_irqchip
from tests.unit.cli.commands import KVMBPF

pytestmark = pytest.mark.bpf

SOURCE = """\
// SPDX-License-Identifier: GPL-2.0-or-later
#include <kvmbpf.bpf.h>

KVMBPF_DEVICE({name}, .compatible = "acme,{name}",
	.regions = {{ KVMBPF_MMIO(0x1000) }}, .irqs = {irqs}, .level_irqs = {level});

KVMBPF_READ(struct kvmbpf_access *acc)
{{
	return KVMBPF_DECLINE;
}}

KVMBPF_WRITE(struct kvmbpf_access *acc)
{{
	return {body};
}}
"""
RAISE = "kvmbpf_irq(acc, 0, 1)"
LOST = (
    "device level: level-triggered irq 0: found a VM whose IO-APIC is in the VMM "
    "(kernel-irqchip=split), where such a line is lost after its first interrupt, needed one "
    "whose IO-APIC is in KVM; {mend}, or make the interrupts edge-triggered (.level_irqs = 0)"
)
NONE = (
    "device {name}: interrupts: found a VM that has no interrupt controller in KVM "
    "(kernel-irqchip=off), needed one that has; {mend}"
)
START = "start QEMU with kernel-irqchip=on, as "
OTHER = "have the VMM make KVM's (KVM_CREATE_IRQCHIP; of QEMU kernel-irqchip=on)"


@dataclass
class Bench:
    """Devices, and a store of the test's own."""

    folder: Path

    def kvmbpf(self, *arguments: str) -> tuple[int, str]:
        """Run the command; return its status and its one line, among those of QEMU's."""
        own = {"KVMBPF_RUN_DIR": str(self.folder / "run"), "KVMBPF_BPFFS": str(self.folder)}
        done = subprocess.run(
            [*KVMBPF, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | own,
        )
        assert done.stdout == ""
        (line,) = [one for one in done.stderr.splitlines() if one.startswith("kvmbpf: ")]
        return done.returncode, line.removeprefix("kvmbpf: ")

    def device(self, name: str) -> str:
        return str(self.folder / f"{name}.bpf.o")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("bench")
    for name, irqs, level, body in (
        ("level", 1, 1, RAISE),
        ("edge", 1, 0, RAISE),
        ("plain", 0, 0, "0"),
    ):
        source = folder / f"{name}.bpf.c"
        source.write_text(SOURCE.format(name=name, irqs=irqs, level=level, body=body))
        compile_device(source, folder / f"{name}.bpf.o")
    yield Bench(folder)
    assert not [*folder.glob("kvmbpf/*/*")], "something is attached"


@pytest.mark.parametrize(
    ("qemu", "option"),
    [
        ("-M q35,accel=kvm,kernel-irqchip=split", "-M q35,kernel-irqchip=on"),
        ("-M microvm,accel=kvm", "-M microvm,kernel-irqchip=on"),
        ("-accel kvm,kernel-irqchip=split -machine q35", "-accel kvm,kernel-irqchip=on"),
        ("-readconfig @machine", 'kernel-irqchip = "on" in what its -readconfig reads'),
    ],
)
def test_a_level_line_is_refused_however_it_came_to_be_split(
    tmp_path: Path, bench: Bench, qemu: str, option: str
) -> None:
    with stopped_qemu(tmp_path, qemu) as (process, qmp):
        qmp.close()
        pid = str(process.pid)
        for how in (("--pid", pid), ("--qmp", str(process.qmp_path))):
            code, line = bench.kvmbpf("attach", bench.device("level"), *how)
            assert (code, line) == (12, LOST.format(mend=START + option))


@pytest.mark.parametrize("name", ["level", "edge"])
def test_without_a_controller_in_kvm_any_line_is_refused(
    tmp_path: Path, bench: Bench, name: str
) -> None:
    with stopped_qemu(tmp_path, "-M q35,accel=kvm,kernel-irqchip=off") as (process, _):
        code, line = bench.kvmbpf("attach", bench.device(name), "--pid", str(process.pid))
        mend = START + "-M q35,kernel-irqchip=on"
        assert (code, line) == (12, NONE.format(name=name, mend=mend))


@pytest.mark.parametrize("name", ["level", "edge"])
def test_a_line_of_the_second_io_apic_is_refused(tmp_path: Path, bench: Bench, name: str) -> None:
    """Microvm's is QEMU's own: no line of a device of KVM's leads there."""
    with stopped_qemu(tmp_path, "-M microvm,accel=kvm,kernel-irqchip=on") as (process, _):
        where = ("--pid", str(process.pid), "--gsi", "24")
        code, line = bench.kvmbpf("attach", bench.device(name), *where)
        assert (code, line) == (
            17,
            f"device {name}: irq 0: gsi 24 is no pin of an IO-APIC that KVM reaches, these are "
            "0..23; give another one with --gsi",
        )


def test_of_a_vmm_that_is_no_qemu_kvm_knows(bench: Bench) -> None:
    attach = ("attach", bench.device("level"), "--pid", str(os.getpid()))
    with Kvm.open() as kvm, kvm.create_vm() as vm:
        assert bench.kvmbpf(*attach) == (12, NONE.format(name="level", mend=OTHER))
        split_irqchip(vm)
        assert bench.kvmbpf(*attach) == (12, LOST.format(mend=OTHER))


@pytest.mark.parametrize(
    ("machine", "sentence"),
    [
        ("q35,accel=kvm,kernel-irqchip=split", LOST),
        ("pc,accel=kvm,kernel-irqchip=split", LOST),
        ("q35,accel=kvm,kernel-irqchip=off", NONE.replace("{name}", "level")),
    ],
)
def test_run_refuses_all_devices_for_one(bench: Bench, machine: str, sentence: str) -> None:
    before = {qemu.pid for qemu in running_qemus()}
    devices = ("--device", bench.device("plain"), "--device", bench.device("level"))
    qemu = (
        "qemu-system-x86_64",
        "-M",
        machine,
        "-cpu",
        "qemu64",
        "-nodefaults",
        "-display",
        "none",
    )
    code, line = bench.kvmbpf("run", *devices, "--", *qemu)
    option = f"-M {machine.partition(',')[0]},kernel-irqchip=on"
    assert (code, line) == (12, sentence.format(mend=START + option))
    assert {qemu.pid for qemu in running_qemus()} <= before
