# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's own kernel as the guest: unmodified, with the driver built by its headers."""

from __future__ import annotations

from pathlib import Path

from tests.lab.debian import debian_parts
from tests.lab.demo_guest import demo_vm


def test_debians_kernel_binds_the_driver_and_never_leaves_for_qemu(tmp_path: Path) -> None:
    debian = debian_parts()
    with demo_vm(tmp_path, debian=debian) as vm:
        assert vm.guest.console.run("uname -r").strip() == debian.kernel.release
        assert "-cloud-amd64" in debian.kernel.release
        assert vm.driver.read("id") == "0x6b766d62"
        before = vm.exits()
        vm.driver.write("selftest/run", 1)
        vm.driver.write("doorbell", 50)
        vm.driver.hammer(1000)
        ring = vm.driver.fill(500)
        assert vm.exits() == before
        assert (ring["records"], ring["lost"], ring["wrong"]) == (500, 0, 0)
        assert vm.driver.number("interrupts") == 50
        assert vm.driver.number("selftest/median_ns") > 0
        vm.assert_counts_agree()
