# SPDX-License-Identifier: GPL-2.0-or-later
"""What a real QEMU has where: each machine, stopped, without KVM."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from kvmbpf.errors import PlacementError
from kvmbpf.model.placement import Occupied, find_profile, place
from kvmbpf.model.spec import Bus, DeviceSpec, IrqSpec, RegionSpec
from qemu_glue.launch import QemuProcess
from qemu_glue.occupied import ask_what_it_has, ask_what_it_is
from qemu_glue.runtime import RuntimeDir

pytestmark = pytest.mark.unit


def device(bus: Bus = Bus.MMIO, size: int = 0x1000, irqs: int = 0) -> DeviceSpec:
    return DeviceSpec(
        name="demo",
        compatible=("kvmbpf,demo",),
        version=1,
        regions=(RegionSpec(0, bus, size, "", ""),),
        irqs=tuple(IrqSpec(index) for index in range(irqs)),
    )


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[tuple[str, Occupied]]:
    """Give a QEMU's machine, and what it has."""
    with (
        RuntimeDir() as runtime,
        QemuProcess([*arguments, "-accel", "tcg", "-display", "none"], runtime) as qemu,
        qemu.connect() as qmp,
    ):
        found = ask_what_it_is(qmp)
        assert not found.kvm
        assert found.version.count(".") == 2
        yield found.machine, ask_what_it_has(qmp)


@pytest.mark.parametrize("name", ["q35", "pc", "microvm"])
@pytest.mark.parametrize("defaults", [True, False], ids=["as it comes", "-nodefaults"])
def test_a_profiles_windows_are_free(name: str, defaults: bool) -> None:
    with running("-M", name, *([] if defaults else ["-nodefaults"])) as (machine, occupied):
        profile = find_profile(machine)
        assert profile is find_profile(name)
        whole = device(size=profile.window_bytes)
        assert place(whole, profile, occupied=occupied).regions == (profile.window_gpa,)
        ports = device(Bus.PIO, profile.window_ports)
        assert place(ports, profile, occupied=occupied).regions == (profile.window_port,)
        # Those that come first are free on the machine as it comes.
        assert not {profile.gsis[0], profile.gsis[1]} & set(occupied.gsis)


@pytest.mark.parametrize(
    ("arguments", "spec", "gpas", "gsis", "sentence"),
    [
        (
            ["-M", "q35"],
            device(),
            [0xFED00000],
            None,
            "device demo: region 0 at 0xfed00000..0xfed00fff overlaps QEMU's hpet at "
            "0xfed00000..0xfed003ff; give another address with --at",
        ),
        (
            ["-M", "q35", "-m", "64"],
            device(),
            [0x1000000],
            None,
            "device demo: region 0 at 0x1000000..0x1000fff overlaps QEMU's RAM pc.ram at "
            "0x100000..0x3ffffff; give another address with --at",
        ),
        (
            ["-M", "pc"],
            device(),
            [0xFFFC0000],
            None,
            "device demo: region 0 at 0xfffc0000..0xfffc0fff overlaps QEMU's ROM pc.bios at "
            "0xfffc0000..0xffffffff; give another address with --at",
        ),
        (
            ["-M", "pc", "-serial", "null"],
            device(Bus.PIO, 8),
            [0x3FF],
            None,
            "device demo: region 0 at port 0x3ff..0x406 overlaps QEMU's serial at "
            "port 0x3f8..0x3ff; give another port with --at",
        ),
        (
            ["-M", "pc", "-serial", "null", "-serial", "null"],
            device(irqs=1),
            None,
            [3],
            "device demo: irq 0: gsi 3 is taken by QEMU's isa-serial; give another one with --gsi",
        ),
        (
            ["-M", "q35", "-nodefaults", "-device", "e1000e,id=net0"],
            device(irqs=1),
            None,
            [20],
            "device demo: irq 0: gsi 20 is taken by QEMU's PCI (net0 and others); "
            "give another one with --gsi",
        ),
        (
            ["-M", "microvm"],
            device(),
            [0xFEB00000],
            None,
            "device demo: region 0 at 0xfeb00000..0xfeb00fff overlaps QEMU's virtio-mmio at "
            "0xfeb00000..0xfeb001ff; give another address with --at",
        ),
        (
            ["-M", "q35"],
            device(),
            [0xFEFFC000],
            None,
            "device demo: region 0 at 0xfeffc000..0xfeffcfff overlaps KVM's identity map and TSS "
            "at 0xfeffc000..0xfeffffff; give another address with --at",
        ),
    ],
    ids=["hpet", "RAM", "ROM", "port", "gsi", "PCI", "virtio", "hidden"],
)
def test_a_clash_names_both_sides(
    arguments: list[str],
    spec: DeviceSpec,
    gpas: list[int] | None,
    gsis: list[int] | None,
    sentence: str,
) -> None:
    with running(*arguments) as (machine, occupied):
        with pytest.raises(PlacementError) as caught:
            place(spec, find_profile(machine), gpas, gsis, occupied=occupied)
        assert str(caught.value) == sentence


def test_what_is_free_is_found_beside_what_is_there() -> None:
    """The second serial port has 3 and the parallel port 7; an sb16 is put on 5."""
    arguments = ["-M", "q35", "-serial", "null", "-serial", "null"]
    sound = ["-audiodev", "none,id=a", "-device", "sb16,irq=5,audiodev=a"]
    with running(*arguments, *sound) as (machine, occupied):
        profile = find_profile(machine)
        assert place(device(irqs=1), profile, occupied=occupied).irqs == (6,)
        with pytest.raises(PlacementError, match="needs 2 interrupts, q35 has 1 free"):
            place(device(irqs=2), profile, occupied=occupied)


def test_a_default_monitor_is_left_to_its_user() -> None:
    """-nographic has the monitor behind Ctrl-A; a -qmp of ours would take it away."""
    with (
        RuntimeDir() as runtime,
        QemuProcess(["-M", "pc", "-accel", "tcg", "-nographic"], runtime) as qemu,
        qemu.connect() as qmp,
    ):
        labels = {one["label"]: one["filename"] for one in qmp.execute("query-chardev")}
        assert labels["serial0"] == "mux"
