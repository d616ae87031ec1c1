# SPDX-License-Identifier: GPL-2.0-or-later
"""What libbpf would do by itself when a device is attached, and the manager decides."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kvmbpf.errors import BadFileError, UnsupportedError
from kvmbpf.manager import Store, detach, update
from kvmbpf.manager.info import device_info
from tests.lab.bare_vmm import BareVmm
from tests.lab.managed import VM, attach_object
from tests.lab.objects import device_object

OTHER = "other"
BPFFS = Path("/sys/fs/bpf")  # where libbpf would pin


def test_a_map_that_asks_for_a_pin_is_its_vms_own(store: Store, vmm: BareVmm) -> None:
    before = sorted(BPFFS.iterdir())
    attach_object(store, vmm, "pinned")
    with BareVmm() as second:
        attach_object(store, second, "pinned", vm=OTHER)
        assert vmm.reads(3) == 2
        assert second.reads() == 0
        ids = {one.id for vm in (VM, OTHER) for one in device_info(store, "pinned", vm=vm).maps}
        assert len(ids) == 2
        assert "shared_by_name" in update(store, device_object("pinned"), vm=VM).carried.carried
        assert vmm.reads() == 3
        assert sorted(BPFFS.iterdir()) == before
        detach(store, "pinned", vm=OTHER)
        assert second.reads() is None
    detach(store, "pinned")
    assert sorted(BPFFS.iterdir()) == before


def test_the_kernels_version_is_told(store: Store, vmm: BareVmm) -> None:
    attach_object(store, vmm, "kernel_version")
    major, minor = os.uname().release.split(".")[:2]
    value = vmm.reads()
    assert value is not None
    assert value >> 8 == int(major) << 8 | int(minor)


def test_an_option_of_a_configuration_that_is_not_there_is_named(
    store: Store, vmm: BareVmm
) -> None:
    """The lab's kernel has no CONFIG_IKCONFIG_PROC, and /boot is the host's."""
    with pytest.raises(UnsupportedError) as caught:
        attach_object(store, vmm, "kernel_hz")
    said = str(caught.value)
    assert said.startswith(
        "CONFIG_HZ is not known: found neither "
        f"/boot/config-{os.uname().release} nor /proc/config.gz, needed one of them, by "
    )
    assert store.vms() == []
    assert vmm.reads() is None


def test_programs_that_nothing_enters_are_not_loaded(store: Store, vmm: BareVmm) -> None:
    attach_object(store, vmm, "more_programs")
    assert vmm.reads(3) == 2
    assert update(store, device_object("more_programs")).applied
    assert vmm.reads() == 3


def test_a_table_of_programs_is_refused(store: Store, vmm: BareVmm) -> None:
    with pytest.raises(BadFileError, match="map `table` is a table of programs"):
        attach_object(store, vmm, "program_table")
    assert store.vms() == []
