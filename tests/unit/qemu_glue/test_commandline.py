# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's command lines, in all of its spellings."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from kvmbpf.model.irqchip import IrqChip
from qemu_glue.commandline import FLAGS, CommandLine, key_values, quoted

pytestmark = pytest.mark.unit
QEMU = "qemu-system-x86_64"


def line(text: str) -> CommandLine:
    return CommandLine([QEMU, *text.split()])


@pytest.mark.parametrize(
    ("text", "machine"),
    [
        ("", "pc"),
        ("-M q35", "q35"),
        ("--M q35", "q35"),
        ("-machine q35", "q35"),
        ("--machine q35", "q35"),
        ("-machine q35,accel=kvm", "q35"),
        ("-machine type=q35,accel=kvm", "q35"),
        ("-machine accel=kvm,type=q35", "q35"),
        ("-machine accel=kvm", "pc"),
        ("-M q35 -machine accel=kvm", "q35"),
        ("-M pc -M q35", "q35"),
        ("-machine q35,type=microvm", "microvm"),
        ("-machine pc-q35-7.2,hpet=off", "pc-q35-7.2"),
        ("-append -M -m 64", "pc"),
        ("-S -M q35", "q35"),
        ("-nodefaults -enable-kvm -snapshot -M q35 disk.img", "q35"),
        ("disk.img -M q35", "q35"),
        ("-M", "pc"),
    ],
)
def test_the_machine(text: str, machine: str) -> None:
    assert line(text).machine() == machine


@pytest.mark.parametrize(
    ("text", "option", "there"),
    [
        ("-S", "S", True),
        ("--S", "S", True),
        ("-append -S", "S", False),
        ("-name -S", "S", False),
        ("S", "S", False),
        ("-s", "S", False),
        ("-daemonize", "daemonize", True),
        ("-append -daemonize", "daemonize", False),
        ("-preconfig", "preconfig", True),
        ("--preconfig", "preconfig", True),
        ("-dtb x.dtb", "dtb", True),
    ],
)
def test_an_option_is_there_or_not(text: str, option: str, there: bool) -> None:
    assert line(text).has(option) is there


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", None),
        ("-name web", "web"),
        ("-name web,debug-threads=on", "web"),
        ("-name guest=web,debug-threads=on", "web"),
        ("-name debug-threads=on,guest=web", "web"),
        ("-name process=x", None),
        ("-name a -name b", "b"),
        ("-name a,,b", "a,b"),
    ],
)
def test_the_guests_name(text: str, name: str | None) -> None:
    assert line(text).guest_name() == name


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("", []),
        ("-qmp unix:/run/a,server=on,wait=off", ["/run/a"]),
        ("-qmp unix:/run/a,server,nowait", ["/run/a"]),
        ("-qmp-pretty unix:a,server=on", ["a"]),
        ("-qmp unix:/run/a,,b,server=on", ["/run/a,b"]),
        ("-qmp tcp:localhost:4444,server=on", []),
        ("-qmp stdio", []),
        ("-monitor unix:/run/a,server=on", []),
        ("-chardev socket,id=c,path=/run/a,server=on -mon chardev=c,mode=control", ["/run/a"]),
        ("-mon c,mode=control -chardev socket,path=/run/a,id=c,server=on", ["/run/a"]),
        ("-chardev socket,id=c,path=/run/a -mon chardev=c,mode=readline", []),
        ("-chardev socket,id=c,path=/run/a -mon chardev=c", []),
        ("-chardev socket,id=c,fd=22,server=on -mon chardev=c,mode=control", []),
        ("-mon chardev=none,mode=control", []),
        ("-qmp unix:/run/a,server=on -qmp unix:/run/b,server=on", ["/run/a", "/run/b"]),
    ],
)
def test_qmp_sockets(text: str, paths: list[str]) -> None:
    assert line(text).qmp_sockets() == [Path(path) for path in paths]


def test_the_last_kernel_counts() -> None:
    assert line("-kernel a --kernel b").kernel() == Path("b")
    assert line("-append x").kernel() is None


def test_commas_in_values() -> None:
    assert key_values("a,,b=c,,d,e=f,,", "x") == {"a,b": "c,d", "e": "f,"}
    assert key_values(quoted("/a,b,,c"), "path") == {"path": "/a,b,,c"}


def test_no_command_at_all() -> None:
    assert CommandLine([]).machine() == "pc"
    assert CommandLine([]).program == ""


def test_the_options_without_a_value_are_those_of_the_qemu_here() -> None:
    text = subprocess.run([QEMU, "-help"], capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"^-([A-Za-z][A-Za-z0-9-]*)", text, re.MULTILINE))
    # What the help shows with nothing like a value, and what is known to have none.
    bare = set(re.findall(r"^-([A-Za-z][A-Za-z0-9-]*)(?:  |$)", text, re.MULTILINE))
    assert len(bare) > 10
    for name in sorted(bare | known & FLAGS):
        done = subprocess.run(
            [QEMU, "-M", "help", f"-{name}"], capture_output=True, text=True, check=False
        )
        assert ("requires an argument" in done.stderr) == (name not in FLAGS), name


@pytest.mark.parametrize(
    ("text", "chip"),
    [
        ("", IrqChip.UNKNOWN),
        ("-M q35,accel=kvm", IrqChip.UNKNOWN),
        ("-M microvm,accel=kvm", IrqChip.UNKNOWN),
        ("-M q35,accel=kvm,kernel-irqchip=on", IrqChip.KERNEL),
        ("-M q35,accel=kvm,kernel-irqchip=split", IrqChip.SPLIT),
        ("-M q35,accel=kvm,kernel-irqchip=off", IrqChip.NONE),
        ("-machine kernel_irqchip=split", IrqChip.SPLIT),
        ("-M q35,kernel-irqchip=split -M pc", IrqChip.SPLIT),
        ("-M q35,kernel-irqchip=split -machine kernel-irqchip=on", IrqChip.KERNEL),
        ("-accel kvm,kernel-irqchip=split", IrqChip.SPLIT),
        ("-accel kvm -M q35,kernel-irqchip=split", IrqChip.SPLIT),
        # -accel counts more, wherever it stands, and the first of them.
        ("-M q35,kernel-irqchip=on -accel kvm,kernel-irqchip=split", IrqChip.SPLIT),
        ("-accel kvm,kernel-irqchip=on -M q35,kernel-irqchip=split", IrqChip.KERNEL),
        ("-accel kvm,kernel-irqchip=split -accel kvm,kernel-irqchip=on", IrqChip.SPLIT),
        ("-accel tcg,thread=single -accel kvm,kernel-irqchip=split", IrqChip.SPLIT),
        ("-accel accel=kvm,kernel-irqchip=off", IrqChip.NONE),
        ("-append kernel-irqchip=off -M q35,kernel-irqchip=on", IrqChip.KERNEL),
        ("-M q35,kernel-irqchip=perhaps", IrqChip.UNKNOWN),
    ],
)
def test_the_interrupt_controller_where_it_is_said(text: str, chip: IrqChip) -> None:
    assert line(text).irqchip() is chip


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("-M microvm,accel=kvm", "-M microvm,kernel-irqchip=on"),
        ("-machine type=pc-q35-7.2,kernel-irqchip=split", "-M pc-q35-7.2,kernel-irqchip=on"),
        ("-accel kvm", "-M kernel-irqchip=on"),
        ("-M q35 -accel kvm", "-M q35,kernel-irqchip=on"),
        ("-M q35 -accel kvm,kernel-irqchip=split", "-accel kvm,kernel-irqchip=on"),
    ],
)
def test_the_option_that_puts_it_into_kvm(text: str, option: str) -> None:
    assert line(text).irqchip_option() == f"kernel-irqchip=on, as {option}"
