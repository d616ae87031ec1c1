# SPDX-License-Identifier: GPL-2.0-or-later
"""Attach, replace, detach; and the ends of link, device and VM in every order."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmbpf.bench.loop_guest import LoopGuest
from kvmbpf.errors import KernelCallError, StateError
from kvmbpf.kernel.ioctl import ioctl_struct, ioctl_value
from kvmbpf.kernel.kvm import Kvm
from kvmbpf.kernel.libbpf import BpfLink, BpfObject
from kvmbpf.kernel.uapi import kvm as uapi
from kvmbpf.manager.backends import kernel
from tests.lab.leaks import assert_nothing_leaked
from tests.lab.objects import device_object
from tests.lab.steered import GPA, placed_steered, prepared, reaches_vmm, steered

pytestmark = pytest.mark.debug_kernel
_KVM_SMI = 0xAEB7  # include/uapi/linux/kvm.h
ORDERS = list(itertools.permutations(("link", "device", "vm")))


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left_in_the_end() -> Iterator[None]:
    yield
    assert_nothing_leaked()


@pytest.fixture
def pin() -> Iterator[Path]:
    path = Path(f"/sys/fs/bpf/kvmbpf-test-{os.getpid()}")
    yield path
    path.unlink(missing_ok=True)


def test_detach_gives_the_place_back() -> None:
    with steered() as device:
        device.read()
        device.link.detach()
        assert reaches_vmm(device.guest)
        assert device.link.info().defunct
        device.link.detach()


def test_closing_the_only_link_detaches() -> None:
    with steered() as device:
        device.link.close()
        assert reaches_vmm(device.guest)


def test_a_second_attach_is_refused_until_the_first_has_ended() -> None:
    with steered() as device, prepared("steered_v2", device.device.fileno()) as second:
        with pytest.raises(KernelCallError) as caught:
            second.attach()
        assert caught.value.errno == errno.EEXIST
        device.set(answer=5)
        assert device.read() == 5
        device.link.detach()
        with second.attach():
            assert not reaches_vmm(device.guest)


def test_one_map_is_attached_once() -> None:
    with (
        LoopGuest(GPA, irqchip=True) as guest,
        kernel.create_device(guest.vm, placed_steered()) as device,
        prepared("steered_v1", device.fileno()) as ops,
        ops.attach(),
        pytest.raises(KernelCallError) as caught,
    ):
        ops.attach()
    assert caught.value.errno == errno.EBUSY


def test_attributes_are_fixed_while_attached() -> None:
    with steered() as device:
        with pytest.raises(KernelCallError) as caught:
            device.device.set_region(1, 0xFE000000, 0x1000)
        assert caught.value.errno == errno.EBUSY
        with pytest.raises(KernelCallError) as caught:
            device.device.set_irq(2, 7)
        assert caught.value.errno == errno.EBUSY
        device.link.detach()
        device.device.set_region(1, 0xFE000000, 0x1000)


def test_a_device_without_a_region_is_not_attached() -> None:
    with (
        LoopGuest(GPA) as guest,
        guest.vm.create_bpf_device() as device,
        prepared("steered_v1", device.fileno()) as ops,
        pytest.raises(KernelCallError) as caught,
    ):
        ops.attach()
    assert caught.value.errno == errno.ENOENT


def test_a_descriptor_that_is_no_bpf_device_is_refused() -> None:
    with Kvm.open() as kvm, kvm.create_vm() as vm:
        for fd, number in ((0, errno.EBADF), (vm.fileno(), errno.EINVAL), (9999, errno.EBADF)):
            with prepared("steered_v1", fd) as ops:
                with pytest.raises(KernelCallError) as caught:
                    ops.attach()
                assert caught.value.errno == number


def test_a_replacement_answers_the_next_access() -> None:
    with steered() as device, prepared("steered_v2") as second:
        device.read()
        assert device.get("version") == 1
        device.link.update(second.map)
        assert not reaches_vmm(device.guest)
        assert second.object.globals["version"] == 2
        assert device.get("calls") == 1


def test_a_replacement_may_name_its_own_device_and_no_other() -> None:
    with (
        steered() as device,
        device.guest.vm.create_bpf_device() as other,
        prepared("steered_v2", other.fileno()) as wrong,
        prepared("steered_v2", device.device.fileno()) as right,
    ):
        with pytest.raises(KernelCallError) as caught:
            device.link.update(wrong.map)
        assert caught.value.errno == errno.EINVAL
        device.read()
        assert device.get("calls") == 1
        device.link.update(right.map)


def test_a_replacement_is_replaced_in_turn() -> None:
    with steered() as device:
        for name in ("steered_v2", "steered_v1") * 10:
            with prepared(name) as ops:
                device.link.update(ops.map)
                assert not reaches_vmm(device.guest)
                assert ops.object.globals["calls"] == 1


def test_a_defunct_link_is_not_updated() -> None:
    with steered() as device, prepared("steered_v2") as second:
        device.link.detach()
        with pytest.raises(StateError):
            device.link.update(second.map)
        assert reaches_vmm(device.guest)


def test_a_map_attached_elsewhere_replaces_nothing() -> None:
    with steered() as first, steered(name="steered_v2") as second:
        ops_map = second.loaded.map(kernel.OPS_MAP)
        with pytest.raises(KernelCallError) as caught:
            first.link.update(ops_map)
        assert caught.value.errno == errno.EBUSY
        first.read()
        second.read()
        assert (first.get("calls"), second.get("calls")) == (1, 1)


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_link_device_and_vm_end_in_any_order(order: tuple[str, ...]) -> None:
    """What the order leaves alive must work until its turn comes."""
    placed = placed_steered()
    guest = LoopGuest(GPA, irqchip=True)
    with BpfObject.open(device_object("steered_v1")) as loaded:
        device = kernel.create_device(guest.vm, placed)
        loaded.load()
        link = kernel.attach(device, placed.spec, loaded)
        ends = {"link": link.close, "device": device.close, "vm": guest.close}
        for index, name in enumerate(order):
            alive = set(order[index:])
            if "vm" in alive:
                assert reaches_vmm(guest) == ("link" not in alive)
            elif "link" in alive:
                # The device's descriptor keeps a VM, the link does not.
                assert link.info().defunct == ("device" not in alive)
            ends[name]()


def test_a_pinned_link_does_not_keep_a_dead_vm(pin: Path) -> None:
    with steered() as device:
        device.link.pin(pin)
        device.link.close()
        assert not reaches_vmm(device.guest), "the pin keeps it attached"
    with BpfLink.open_pinned(pin) as link:
        assert link.info().defunct
        assert link.wait_detached(0)


def test_whoever_watches_the_link_is_told_of_the_vms_end(pin: Path) -> None:
    with steered() as device:
        device.link.pin(pin)
        watched = BpfLink.open_pinned(pin)
        assert not watched.wait_detached(0)
    with watched:
        assert watched.wait_detached(5)


def test_a_vm_that_kvm_gave_up_lets_its_device_go() -> None:
    with steered() as device, prepared("steered_v1", device.device.fileno()) as ops:
        device.read()
        # This guest has no memory where an SMI saves its state: enter_smm() ends the VM.
        ioctl_value(device.guest.vcpu, _KVM_SMI, 0, "ioctl(KVM_SMI)")
        another = uapi.kvm_create_device(uapi.KVM_DEV_TYPE_BPF, 0, 0)
        for call in (
            device.read,
            lambda: ioctl_struct(device.guest.vm, uapi.KVM_CREATE_DEVICE, another, "another"),
            device.device.info,
            lambda: device.device.set_irq(2, 7),
        ):
            with pytest.raises(KernelCallError) as caught:
                call()
            assert caught.value.errno == errno.EIO
        with pytest.raises(KernelCallError, match=r"EIO .*; KVM gave this VM up"):
            device.guest.vm.create_bpf_device()
        device.link.detach()
        assert device.link.info().defunct
        with pytest.raises(KernelCallError) as caught:
            ops.attach()
        assert caught.value.errno == errno.EIO


def test_several_devices_of_a_vm_are_apart() -> None:
    with steered() as first:
        placed = placed_steered()
        with BpfObject.open(device_object("steered_v2")) as loaded:
            loaded.load()
            device = first.guest.vm.create_bpf_device()
            with device:
                device.set_region(0, GPA + 0x1000, 0x1000)
                with kernel.attach(device, placed.spec, loaded):
                    first.read()
                    first.read(0x1000)
                    assert first.get("calls") == 1
                    assert loaded.globals["calls"] == 1
                    assert loaded.globals["seen_offset"] == 0
                assert reaches_vmm(first.guest, offset=0x1000)
                first.read()


def test_cycles_leave_no_descriptor_and_no_bus_slot() -> None:
    """KVM's bus takes 1,000 devices: a slot lost in each cycle would run it out."""
    with steered() as device:
        device.link.detach()
        with prepared("steered_v2", device.device.fileno()) as ops:
            before = len(list(Path("/proc/self/fd").iterdir()))
            for _ in range(1100):
                ops.attach().close()
            assert len(list(Path("/proc/self/fd").iterdir())) == before
            with ops.attach():
                assert not reaches_vmm(device.guest)
