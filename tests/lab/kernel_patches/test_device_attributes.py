# SPDX-License-Identifier: GPL-2.0-or-later
"""The device's attributes: on, off, wrong with the exact errno, twice, after close."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable, Iterator

import pytest

from kvmbpf.errors import KernelCallError, StateError
from kvmbpf.kernel.ioctl import ioctl_struct
from kvmbpf.kernel.kvm import Kvm, KvmDevice, Vm
from kvmbpf.kernel.uapi import kvm as uapi


@pytest.fixture
def vm() -> Iterator[Vm]:
    with Kvm.open() as kvm, kvm.create_vm() as found:
        yield found


@pytest.fixture
def device(vm: Vm) -> Iterator[KvmDevice]:
    with vm.create_bpf_device() as found:
        yield found


def set_raw(device: KvmDevice, group: int, index: int, value: ctypes.Structure, flags: int) -> None:
    attr = uapi.kvm_device_attr(flags, group, index, ctypes.addressof(value))
    ioctl_struct(device, uapi.KVM_SET_DEVICE_ATTR, attr, "set")


def refused(number: int, call: Callable[[], object]) -> None:
    with pytest.raises(KernelCallError) as caught:
        call()
    assert caught.value.errno == number, caught.value


def test_capability_and_type_say_that_it_is_there(vm: Vm) -> None:
    with Kvm.open() as kvm:
        assert kvm.check_extension(uapi.KVM_CAP_BPF_DEVICE) == 1
    assert vm.has_device_type(uapi.KVM_DEV_TYPE_BPF)


def test_a_region_reads_back_as_it_was_set(device: KvmDevice) -> None:
    device.set_region(0, 0xFEF00000, 0x1000)
    found = device.region(0)
    assert (found.bus, found.flags, found.base, found.size) == (0, 0, 0xFEF00000, 0x1000)
    assert list(found.pad) == [0, 0]


def test_every_region_index_up_to_the_last_works(device: KvmDevice) -> None:
    for index in range(uapi.KVM_DEV_BPF_NR_REGIONS):
        device.set_region(index, 0xFEF00000 + index * 0x1000, 0x1000)
    refused(errno.ENXIO, lambda: device.set_region(8, 0xFE000000, 0x1000))


@pytest.mark.parametrize(
    ("region", "number"),
    [
        (uapi.kvm_bpf_region(2, 0, 0x1000, 0x1000), errno.EINVAL),
        (uapi.kvm_bpf_region(0, 1, 0x1000, 0x1000), errno.EINVAL),
        (uapi.kvm_bpf_region(0, 0, 0x1000, 0), errno.EINVAL),
        (uapi.kvm_bpf_region(0, 0, 0x1000, 1 << 31), errno.EINVAL),
        (uapi.kvm_bpf_region(0, 0, (1 << 64) - 0x1000, 0x1000), errno.EINVAL),
        (uapi.kvm_bpf_region(0, 0, 0x1000, 0x1000, (1, 0)), errno.EINVAL),
        (uapi.kvm_bpf_region(0, 0, 0x1000, 0x1000, (0, 1)), errno.EINVAL),
        (uapi.kvm_bpf_region(0, 0, 0xFEF00FFF, 1), errno.EEXIST),
    ],
    ids=["bus", "flags", "empty", "too large", "past 64 bits", "pad 0", "pad 1", "overlap"],
)
def test_a_wrong_region_is_refused(
    device: KvmDevice, region: uapi.kvm_bpf_region, number: int
) -> None:
    device.set_region(0, 0xFEF00000, 0x1000)
    refused(number, lambda: set_raw(device, uapi.KVM_DEV_BPF_REGION, 1, region, 0))
    refused(errno.ENOENT, lambda: device.region(1))


def test_a_region_is_set_once(device: KvmDevice) -> None:
    device.set_region(0, 0xFEF00000, 0x1000)
    refused(errno.EEXIST, lambda: device.set_region(0, 0xFE000000, 0x1000))
    assert device.region(0).base == 0xFEF00000


def test_a_region_that_was_not_set_is_absent(device: KvmDevice) -> None:
    refused(errno.ENOENT, lambda: device.region(0))
    refused(errno.ENXIO, lambda: device.region(8))


def test_flags_of_the_call_itself_are_refused(device: KvmDevice) -> None:
    region = uapi.kvm_bpf_region(0, 0, 0x1000, 0x1000)
    refused(errno.EINVAL, lambda: set_raw(device, uapi.KVM_DEV_BPF_REGION, 0, region, 1))


def test_an_address_that_is_not_mapped_is_refused(device: KvmDevice) -> None:
    attr = uapi.kvm_device_attr(0, uapi.KVM_DEV_BPF_REGION, 0, 8)
    refused(errno.EFAULT, lambda: ioctl_struct(device, uapi.KVM_SET_DEVICE_ATTR, attr, "set"))


def test_an_unknown_group_is_refused(device: KvmDevice) -> None:
    region = uapi.kvm_bpf_region(0, 0, 0x1000, 0x1000)
    refused(errno.ENXIO, lambda: set_raw(device, 77, 0, region, 0))


def test_has_attr_tells_what_set_and_get_know(device: KvmDevice) -> None:
    assert device.has_attr(uapi.KVM_DEV_BPF_REGION, 0)
    assert device.has_attr(uapi.KVM_DEV_BPF_REGION, 7)
    assert not device.has_attr(uapi.KVM_DEV_BPF_REGION, 8)
    assert device.has_attr(uapi.KVM_DEV_BPF_IRQ, 31)
    assert not device.has_attr(uapi.KVM_DEV_BPF_IRQ, 32)
    assert not device.has_attr(0, 0)
    for group in (
        uapi.KVM_DEV_BPF_LIMITS,
        uapi.KVM_DEV_BPF_INFO,
        uapi.KVM_DEV_BPF_RESET,
        uapi.KVM_DEV_BPF_STATS_ENABLE,
        uapi.KVM_DEV_BPF_OPEN,
    ):
        assert device.has_attr(group, 0)
        assert not device.has_attr(group, 1)
    assert device.has_attr(uapi.KVM_DEV_BPF_STATS, 7)
    assert not device.has_attr(uapi.KVM_DEV_BPF_STATS, 8)
    assert not device.has_attr(uapi.KVM_DEV_BPF_OPEN + 1, 0)


def test_an_irq_needs_an_interrupt_controller_in_the_kernel(vm: Vm, device: KvmDevice) -> None:
    refused(errno.EAGAIN, lambda: device.set_irq(0, 5))
    vm.create_irqchip()
    device.set_irq(0, 5)
    device.set_irq(31, 6, level=True)
    assert (device.irq(0).gsi, device.irq(0).flags) == (5, 0)
    assert (device.irq(31).gsi, device.irq(31).flags) == (6, uapi.KVM_BPF_IRQ_LEVEL)


@pytest.mark.parametrize(
    "irq",
    [
        uapi.kvm_bpf_irq(5, 2),
        uapi.kvm_bpf_irq(5, 0, 1),
        uapi.kvm_bpf_irq(4096, 0),
    ],
    ids=["flags", "pad", "gsi"],
)
def test_a_wrong_irq_is_refused(vm: Vm, device: KvmDevice, irq: uapi.kvm_bpf_irq) -> None:
    vm.create_irqchip()
    refused(errno.EINVAL, lambda: set_raw(device, uapi.KVM_DEV_BPF_IRQ, 0, irq, 0))
    refused(errno.ENOENT, lambda: device.irq(0))
    refused(errno.ENXIO, lambda: device.set_irq(32, 5))


def test_an_irq_is_set_once(vm: Vm, device: KvmDevice) -> None:
    vm.create_irqchip()
    device.set_irq(0, 5)
    refused(errno.EEXIST, lambda: device.set_irq(0, 6))
    assert device.irq(0).gsi == 5


def test_a_closed_device_is_not_used(device: KvmDevice) -> None:
    device.close()
    device.close()
    with pytest.raises(StateError):
        device.set_region(0, 0x1000, 0x1000)


def test_a_vm_may_have_many(vm: Vm) -> None:
    found = [vm.create_bpf_device() for _ in range(100)]
    for device in found:
        device.set_region(0, 0xFEF00000, 0x1000)
    for device in found:
        device.close()
