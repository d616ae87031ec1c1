# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo device's driver and its device: they are replaced, and go, while they are in use."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kvmbpf.demo.driver import DRIVER
from kvmbpf.manager import update
from tests.lab.demo_guest import DemoVm, demo_vm
from tests.lab.kmemleak import KMEMLEAK
from tests.lab.pace import ON_DEBUG_KERNEL

READER = "ring_reader"
ON_DEBUG_VARIABLE = "KVMBPF_GUEST_ON_DEBUG"


def on_debug_too(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test on the debug kernel too, as host and guest, if `make hammer` asks for it.

    A guest under KASAN in a host under KASAN takes ten minutes for it.
    """
    return pytest.mark.debug_kernel(test) if os.environ.get(ON_DEBUG_VARIABLE) else test


def test_an_update_takes_timer_and_ring_along(tmp_path: Path) -> None:
    with demo_vm(tmp_path) as vm:
        vm.driver.write("tick_us", 5000)
        vm.driver.fill(10)
        update(vm.store, vm.parts.v2)
        assert vm.driver.read("version") == "2"
        assert vm.state()["generation"] == 1
        ticks = vm.driver.number("ticks")
        while vm.driver.number("ticks") < ticks + 3:  # by the new version's body now
            pass
        node = vm.driver.node
        said = vm.guest.console.run(
            f"exec 3<{node}; echo 20 > {vm.driver.folder}/ring/fill; {READER} {node} 20"
        )
        assert "records=20 lost=0 wrong=0 first=11 last=30 first_version=2 last_version=2" in said
        vm.driver.write("tick_us", 0)
        vm.assert_counts_agree()


def bind(vm: DemoVm, device: str, verb: str) -> None:
    """Have the guest bind or unbind its driver."""
    vm.guest.console.run(f"echo {device} > {DRIVER}/{verb}")


@on_debug_too
def test_the_driver_goes_and_comes_back_while_it_is_hammered(tmp_path: Path) -> None:
    """Unbound, bound, removed and loaded again, with everything in use: no splat, no leak."""
    with demo_vm(tmp_path, smp=2) as vm:
        for verb in ("unbind", "unbind", "rmmod"):
            driver, console = vm.driver, vm.guest.console
            device = driver.device
            driver.write("tick_us", 1000)
            users = [driver.start_hammer(2), driver.start("doorbell", 1_000_000)]
            if verb == "unbind":  # an open file holds the module
                users.append(console.start(f"{READER} {driver.node} 100000000"))
            driver.write("ring/fill", 1 << 24)
            if verb == "rmmod":
                console.run("rmmod kvmbpf_demo")
                console.run("insmod /lib/modules/kvmbpf_demo.ko")
            else:
                bind(vm, device, verb)
                assert vm.state()["ring_size"] == vm.state()["ring_busy"] == 0
                bind(vm, device, "bind")
            # Whoever was at it has been let go, with an error.
            assert [user.stop() != 0 for user in users] == [True] * len(users)
            vm.rebound()
            assert vm.driver.fill(100) | {"records": 100, "lost": 0, "wrong": 0} == vm.driver.fill(
                0
            )
            vm.driver.write("doorbell", 5)
        if ON_DEBUG_KERNEL:
            found = vm.guest.console.run(
                f"echo scan > {KMEMLEAK}; echo scan > {KMEMLEAK}; cat {KMEMLEAK}"
            )
            assert "demo_" not in found


def test_an_open_file_outlives_the_binding(tmp_path: Path) -> None:
    with demo_vm(tmp_path) as vm:
        console, node = vm.guest.console, vm.driver.node
        said = console.run(
            f"exec 3<{node}; echo {vm.driver.device} > {DRIVER}/unbind; "
            "cat <&3; rmmod kvmbpf_demo; exec 3<&-; rmmod kvmbpf_demo && echo gone"
        )
        assert "No such device" in said
        assert "Resource temporarily unavailable" in said
        assert said.endswith("gone\n")
