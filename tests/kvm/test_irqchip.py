# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a VM has its interrupt controllers, by KVM's own word, QEMU's, and its command line's."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kvmbpf.errors import KernelCallError, UnsupportedError
from kvmbpf.kernel.fd import OwnedFd
from kvmbpf.kernel.kvm import Kvm, borrow_vm
from kvmbpf.kernel.kvm.irqchip import vm_irqchip
from kvmbpf.kernel.libbpf.btf import vmlinux_btf
from kvmbpf.kernel.libbpf.kernel_word import find_member, read_kernel_word
from kvmbpf.manager.irqchip import ask_controller
from kvmbpf.model.irqchip import IrqChip
from qemu_glue.irqchip import ask_irqchip
from qemu_glue.launch import QemuProcess
from qemu_glue.qmp import QmpSession
from qemu_glue.runtime import RuntimeDir
from tests.held import nothing_left
from tests.split_irqchip import split_irqchip

# What asks KVM loads a program.
pytestmark = pytest.mark.bpf

READCONFIG = '[machine]\n  type = "q35"\n  accel = "kvm"\n  kernel-irqchip = "split"\n'
ACCEL_CONFIG = '[accel]\n  accel = "kvm"\n  kernel-irqchip = "split"\n'
# What a QEMU is started with, and where its controllers are then.
QEMUS = [
    ("-M q35,accel=kvm", IrqChip.KERNEL),
    ("-M pc,accel=kvm", IrqChip.KERNEL),
    ("-M isapc,accel=kvm", IrqChip.KERNEL),
    ("-M microvm,accel=kvm,kernel-irqchip=on", IrqChip.KERNEL),
    ("-machine q35,kernel-irqchip=split -accel kvm,kernel-irqchip=on", IrqChip.KERNEL),
    ("-M q35,accel=kvm,kernel-irqchip=split", IrqChip.SPLIT),
    ("-M q35,accel=kvm,kernel_irqchip=split", IrqChip.SPLIT),
    ("-M microvm,accel=kvm", IrqChip.SPLIT),
    ("-M isapc,accel=kvm,kernel-irqchip=split", IrqChip.SPLIT),
    ("-accel kvm,kernel-irqchip=split -machine q35", IrqChip.SPLIT),
    ("-machine q35,kernel-irqchip=on -accel kvm,kernel-irqchip=split", IrqChip.SPLIT),
    ("-readconfig @machine", IrqChip.SPLIT),
    ("-readconfig @accel -M q35", IrqChip.SPLIT),
    ("-M q35,accel=kvm,kernel-irqchip=off", IrqChip.NONE),
    ("-M pc -accel kvm,kernel-irqchip=off", IrqChip.NONE),
]


@contextmanager
def stopped_qemu(folder: Path, text: str) -> Iterator[tuple[QemuProcess, QmpSession]]:
    """Give a QEMU with KVM on, whose guest never runs, and a session with it."""
    for name, config in (("@machine", READCONFIG), ("@accel", ACCEL_CONFIG)):
        file = folder / name
        file.write_text(config)
        text = text.replace(name, str(file))
    arguments = [*text.split(), "-cpu", "qemu64", "-nodefaults", "-display", "none"]
    with (
        RuntimeDir() as runtime,
        QemuProcess(arguments, runtime) as qemu,
        qemu.connect() as qmp,
    ):
        yield qemu, qmp


def test_kvm_says_which_a_vm_has() -> None:
    with Kvm.open() as kvm, kvm.create_vm() as vm:
        assert vm_irqchip(vm) is IrqChip.NONE
        vm.create_irqchip()
        assert vm_irqchip(vm) is IrqChip.KERNEL
    with Kvm.open() as kvm, kvm.create_vm() as vm:
        split_irqchip(vm)
        assert vm_irqchip(vm) is IrqChip.SPLIT


def test_vms_of_one_process_are_told_apart() -> None:
    with Kvm.open() as kvm, kvm.create_vm() as first, kvm.create_vm() as second:
        second.create_irqchip()
        assert (vm_irqchip(first), vm_irqchip(second)) == (IrqChip.NONE, IrqChip.KERNEL)
        fd = second.fileno()
        assert ask_controller(os.getpid(), fd).chip is IrqChip.KERNEL


def test_asking_leaves_nothing() -> None:
    with Kvm.open() as kvm, kvm.create_vm() as vm:
        vm_irqchip(vm)
        with nothing_left():
            for _ in range(3):
                vm_irqchip(vm)


@pytest.mark.parametrize(("text", "chip"), QEMUS, ids=[text for text, _ in QEMUS])
def test_kvm_and_qemu_say_the_same_of_each_machine(
    tmp_path: Path, text: str, chip: IrqChip
) -> None:
    with stopped_qemu(tmp_path, text) as (qemu, qmp):
        with borrow_vm(qemu.pid) as vm:
            assert vm_irqchip(vm) is chip
        assert ask_irqchip(qmp) is chip
        found = ask_controller(qemu.pid, session=qmp)
        assert (found.chip, found.why) == (chip, "")


# What a process without the right to load programs finds out.
UNABLE = """
import sys
from pathlib import Path
from kvmbpf.manager.irqchip import ask_controller
from qemu_glue.qmp import QmpSession
pid, path = int(sys.argv[1]), sys.argv[2]
found = ask_controller(pid, session=QmpSession.connect(Path(path)) if path else None)
print(found.chip.value, found.why)
"""


def unable(pid: int, qmp: Path | None) -> str:
    capabilities = "-bpf,-perfmon,-sys_admin"
    command = ["setpriv", "--bounding-set", capabilities, sys.executable, "-c", UNABLE]
    done = subprocess.run(
        [*command, str(pid), str(qmp or "")], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_qemu_is_asked_where_kvm_cannot_be(tmp_path: Path) -> None:
    with stopped_qemu(tmp_path, "-M microvm,accel=kvm") as (qemu, qmp):
        qmp.close()
        assert unable(qemu.pid, qemu.qmp_path) == "split"
        # Its default is not guessed.
        said = unable(qemu.pid, None)
        assert said.startswith("unknown KVM cannot be asked: BPF_PROG_LOAD(read a word): EPERM ")


def test_a_command_line_that_says_it_outright_is_believed_last(tmp_path: Path) -> None:
    with stopped_qemu(tmp_path, "-accel kvm,kernel-irqchip=split -M q35") as (qemu, _):
        assert unable(qemu.pid, None) == "split"
    with stopped_qemu(tmp_path, "-M q35,kernel-irqchip=on -readconfig @accel") as (qemu, _):
        assert unable(qemu.pid, None).startswith("unknown KVM cannot be asked")


def test_a_member_that_the_kernel_has_not_is_named() -> None:
    with pytest.raises(UnsupportedError, match=r"^kvm\.arch\.no_such: found a kernel whose types"):
        find_member(vmlinux_btf(), "kvm", "arch.no_such")
    with pytest.raises(UnsupportedError, match=r"^no_such_struct\.arch: found"):
        find_member(vmlinux_btf(), "no_such_struct", "arch")


def test_what_a_descriptor_does_not_stand_for_cannot_be_read() -> None:
    """A file without private data: the pointer is NULL, and the kernel refuses it."""
    fd = OwnedFd(os.open("/dev/null", os.O_RDONLY), "/dev/null")
    with fd, pytest.raises(KernelCallError) as caught:
        read_kernel_word(fd, vmlinux_btf(), [("kvm", "arch.irqchip_mode")])
    assert caught.value.errno == errno.EFAULT


def test_a_member_of_an_unnamed_struct_is_found() -> None:
    """``dev`` is in a union in a struct, both unnamed, behind two pointers."""
    assert find_member(vmlinux_btf(), "sk_buff", "dev").offset == 16
