# SPDX-License-Identifier: GPL-2.0-or-later
"""An x86 guest's driver is told the same of a device by an ACPI table and by a device tree.

QEMU emulates the guest on the host: its kernel is the lab's, and no device need answer.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from kvmbpf.demo.guest_files import build_initramfs
from kvmbpf.lab import LabKernel, require_kernel
from kvmbpf.model.firmware import to_dtb, to_ssdt
from kvmbpf.model.placement import Placed
from kvmbpf.model.spec import Bus, DeviceSpec, IrqSpec, PropertySpec, RegionSpec, Trigger
from qemu_glue.console import GuestConsole
from qemu_glue.dtb import loadable_dtb
from qemu_glue.guest import DemoGuest, GuestConfig

pytestmark = pytest.mark.on_host

MODULE = Path(__file__).parents[1] / "guest_module"

WHOLE = DeviceSpec(
    name="whole",
    compatible=("acme,told", "kvmbpf,told"),
    version=1,
    regions=(RegionSpec(0, Bus.MMIO, 0x1000, "r", "w"), RegionSpec(1, Bus.MMIO, 1 << 33, "r", "w")),
    irqs=(IrqSpec(0), IrqSpec(1, Trigger.LEVEL)),
    properties=(
        PropertySpec("told,on", ""),
        PropertySpec("told,number", "<0xfffffffe>"),
        PropertySpec("told,numbers", "<1 2>, <3>"),
        PropertySpec("told,bytes", "[00 7f ff]"),
        PropertySpec("told,string", r'"a \"b\" c"'),
        PropertySpec("told,strings", '"one", "two"'),
    ),
)
# Its most specific name is the driver's, and it has ports: few, and many.
PORTS = DeviceSpec(
    name="ports",
    compatible=("kvmbpf,told",),
    version=1,
    regions=(RegionSpec(0, Bus.PIO, 8, "r", "w"), RegionSpec(1, Bus.PIO, 0x100, "r", "w")),
    irqs=(IrqSpec(0, Trigger.LEVEL),),
    properties=(PropertySpec("told,number", "<0>"), PropertySpec("told,bytes", "[05]")),
)
STRANGER = replace(WHOLE, name="stranger", compatible=("acme,told",), irqs=(), properties=())
DEVICES = (
    Placed(WHOLE, (0xFEF00000, 1 << 36), (5, 6)),
    Placed(PORTS, (0xD00, 0xE00), (7,)),
    Placed(STRANGER, (0xFEF10000, 1 << 37), ()),
)
# What a driver reads of them; irqs are told by ACPI only.
TOLD_WHOLE = [
    "mem 0xfef00000 0x1000",
    "mem 0x1000000000 0x200000000",
    "irq 5 edge",
    "irq 6 level",
    "told,on 1",
    "told,off 0",
    "told,number 1 0xfffffffe",
    "told,numbers 3 0x1 0x2 0x3",
    "told,absent -22",
    "told,bytes 3 00 7f ff",
    'told,string 1 [a "b" c]',
    "told,strings 2 [one] [two]",
]
TOLD_PORTS = [
    "io 0xd00 0x8",
    "io 0xe00 0x100",
    "irq 7 level",
    "told,on 0",
    "told,off 0",
    "told,number 1 0x0",
    "told,numbers -22",
    "told,absent -22",
    "told,bytes 1 05",
    "told,string -22",
    "told,strings -22",
]


@pytest.fixture(scope="module")
def kernel() -> LabKernel:
    return require_kernel()


@pytest.fixture(scope="module")
def initramfs(kernel: LabKernel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a guest's root with the test's driver in it."""
    folder = tmp_path_factory.mktemp("told")
    for source in ("kvmbpf_told.c", "Kbuild"):
        shutil.copy(MODULE / source, folder)
    done = subprocess.run(
        ["make", "-C", kernel.build_tree, f"M={folder}", "modules"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return build_initramfs(folder / "initramfs.gz", [folder / "kvmbpf_told.ko"])


@contextmanager
def run(config: GuestConfig) -> Iterator[GuestConsole]:
    """Boot a guest and give its console."""
    with DemoGuest(config) as guest:
        guest.boot()
        yield guest.console
        assert guest.power_off() == 0


def told(console: GuestConsole, device: str) -> list[str]:
    return console.run(f"cat /sys/bus/platform/drivers/kvmbpf-told/{device}/told").splitlines()


def without_irqs(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith("irq ")]


def bound(console: GuestConsole) -> list[str]:
    """Return the devices that the driver took."""
    names = console.run("ls -1 /sys/bus/platform/drivers/kvmbpf-told").split()
    return sorted(name for name in names if ":" in name or "." in name)


def test_an_acpi_table_tells_it(kernel: LabKernel, initramfs: Path, tmp_path: Path) -> None:
    table = tmp_path / "ssdt.aml"
    table.write_bytes(to_ssdt(DEVICES))
    config = GuestConfig(kernel.bzimage, initramfs, accel="tcg", acpi_tables=[table])
    with run(config) as console:
        assert bound(console) == ["PRP0001:00", "PRP0001:01"]
        assert told(console, "PRP0001:00") == TOLD_WHOLE
        assert told(console, "PRP0001:01") == TOLD_PORTS
        # The third is there, and no driver of its name.
        paths = console.run("cat /sys/bus/acpi/devices/PRP0001:0*/path").split()
        assert paths == [r"\_SB_.KB00", r"\_SB_.KB01", r"\_SB_.KB02"]
        assert console.run("cat /sys/bus/acpi/devices/PRP0001:0*/uid").split() == ["0", "1", "2"]
        modalias = console.run("cat /sys/bus/acpi/devices/PRP0001:00/modalias").strip()
        assert modalias.endswith("Cacme,toldCkvmbpf,told")
        assert "fef00000-fef00fff : PRP0001:00" in console.run("cat /proc/iomem")
        assert "0d00-0d07 : PRP0001:01" in console.run("cat /proc/ioports")


def test_a_device_tree_tells_the_same(kernel: LabKernel, initramfs: Path, tmp_path: Path) -> None:
    tree = tmp_path / "devices.dtb"
    tree.write_bytes(loadable_dtb(to_dtb(DEVICES), kernel.bzimage))
    config = GuestConfig(kernel.bzimage, initramfs, accel="tcg", extra=["-dtb", str(tree)])
    with run(config) as console:
        whole, ports = "fef00000.whole", "d00.ports"
        assert bound(console) == sorted([whole, ports])
        assert told(console, whole) == without_irqs(TOLD_WHOLE)
        assert told(console, ports) == without_irqs(TOLD_PORTS)


def test_a_guest_that_is_not_told_has_none(kernel: LabKernel, initramfs: Path) -> None:
    with run(GuestConfig(kernel.bzimage, initramfs, accel="tcg")) as console:
        assert bound(console) == []
