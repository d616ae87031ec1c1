# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults, limits, ejection, statistics and reset, by the device's own attributes."""

from __future__ import annotations

import ctypes
import errno

import pytest

from kvmbpf.bench.loop_guest import Access
from kvmbpf.errors import KernelCallError
from kvmbpf.kernel.ioctl import ioctl_struct
from kvmbpf.kernel.kvm import KvmDevice
from kvmbpf.kernel.uapi import kvm as uapi
from tests.lab.steered import DECLINE, prepared, reaches_vmm, steered

ALL_ONES = 0xFFFFFFFF
EIO = -errno.EIO


def set_raw(device: KvmDevice, group: int, value: ctypes.Structure | ctypes.c_uint32) -> int:
    """Set attribute 0 of a group, and return the errno that this must give."""
    attr = uapi.kvm_device_attr(0, group, 0, ctypes.addressof(value))
    with pytest.raises(KernelCallError) as caught:
        ioctl_struct(device, uapi.KVM_SET_DEVICE_ATTR, attr, "set")
    assert caught.value.errno is not None
    return caught.value.errno


def test_limits_read_back_and_are_none_at_first() -> None:
    with steered() as device:
        limits = device.device.limits()
        assert (limits.max_faults, limits.max_run_ns) == (uapi.KVM_BPF_NO_LIMIT, 0)
        device.device.set_limits(max_faults=3, max_run_ns=10**9)
        limits = device.device.limits()
        assert (limits.max_faults, limits.max_run_ns) == (3, 10**9)


def test_a_device_without_limits_is_never_ejected() -> None:
    with steered() as device:
        device.set(result=EIO)
        device.guest.loop(Access.WRITE, 2000)
        info = device.device.info()
        assert info.faults == 2000
        assert info.state == uapi.KVM_BPF_STATE_ATTACHED


def test_the_last_fault_is_kept_with_all_that_is_known_of_it() -> None:
    with steered() as device:
        device.set(result=EIO)
        device.write(1, 0x40)
        fault = device.device.info().last_fault
        assert (fault.reason, fault.error) == (uapi.KVM_BPF_FAULT_ERROR, EIO)
        assert (fault.region, fault.offset, fault.len, fault.vcpu_id) == (0, 0x40, 4, 0)
        assert fault.flags == uapi.KVM_BPF_FAULT_WRITE
        assert fault.time_ns > 0


def test_one_fault_too_many_ejects_and_the_vmm_answers() -> None:
    with steered() as device:
        device.device.set_limits(max_faults=2)
        device.set(result=EIO)
        for _ in range(2):
            assert device.read() == ALL_ONES
        assert device.device.info().state == uapi.KVM_BPF_STATE_ATTACHED
        assert device.read() == ALL_ONES, "the fault that is one too many is a fault still"
        ejected = uapi.KVM_BPF_STATE_ATTACHED | uapi.KVM_BPF_STATE_EJECTED
        assert device.device.info().state == ejected
        device.set(result=0)
        assert reaches_vmm(device.guest)
        assert device.get("calls") == 3


def test_an_ejected_device_holds_no_line_and_a_replacement_revives_it() -> None:
    with steered() as device, prepared("steered_v2") as replacement:
        device.set(**{"raise": 1}, irq=1, level=1)
        device.write(1)
        assert device.device.info().asserted == 1 << 1
        device.device.set_limits(max_faults=0)
        device.set(result=EIO, **{"raise": 0})
        device.write(1)
        assert device.device.info().asserted == 0
        assert not device.guest.vm.pic_state().last_irr & 1 << 6
        device.link.update(replacement.map)
        info = device.device.info()
        assert (info.state, info.faults, info.replaced) == (uapi.KVM_BPF_STATE_ATTACHED, 0, 1)
        assert not reaches_vmm(device.guest)
        assert info.last_fault.error == EIO, "the reason is kept"


def test_a_slow_program_is_a_fault_for_each_time_that_it_takes() -> None:
    with steered() as device:
        device.device.set_limits(max_run_ns=1)
        device.read()
        info = device.device.info()
        assert info.faults > 0
        assert info.last_fault.reason == uapi.KVM_BPF_FAULT_SLOW
        assert info.last_fault.run_ns >= info.faults
        device.device.set_limits(max_faults=0, max_run_ns=1)
        device.set(answer=5)
        assert device.read() == 5, "it has answered"
        assert reaches_vmm(device.guest)


def test_statistics_count_while_they_are_enabled() -> None:
    with steered() as device:
        device.read()
        assert device.device.stats(0).reads == 0
        device.device.enable_stats(True)
        assert device.device.stats_enabled()
        device.guest.loop(Access.READ, 100)
        device.guest.loop(Access.WRITE, 50)
        device.device.enable_stats(False)
        device.read()
        stats = device.device.stats(0)
        assert (stats.reads, stats.writes) == (100, 50)
        assert stats.ns >= stats.max_ns > 0


def test_declines_and_faults_are_always_counted() -> None:
    with steered() as device:
        device.set(result=DECLINE)
        assert reaches_vmm(device.guest)
        device.set(result=EIO)
        device.read()
        stats = device.device.stats(0)
        assert (stats.declines, stats.faults) == (1, 1)


@pytest.mark.parametrize(
    ("group", "value"),
    [
        (uapi.KVM_DEV_BPF_STATS_ENABLE, ctypes.c_uint32(2)),
        (uapi.KVM_DEV_BPF_LIMITS, uapi.kvm_bpf_limits(0, 1, 0)),
        (uapi.KVM_DEV_BPF_LIMITS, uapi.kvm_bpf_limits(0, 0, 0, (0, 1))),
    ],
    ids=["neither off nor on", "limits' flags", "limits' padding"],
)
def test_wrong_values_are_refused(group: int, value: ctypes.Structure | ctypes.c_uint32) -> None:
    with steered() as device:
        assert set_raw(device.device, group, value) == errno.EINVAL


def test_what_can_only_be_read_is_not_set() -> None:
    with steered() as device:
        assert set_raw(device.device, uapi.KVM_DEV_BPF_INFO, uapi.kvm_bpf_info()) == errno.EPERM
        assert set_raw(device.device, uapi.KVM_DEV_BPF_STATS, uapi.kvm_bpf_stats()) == errno.EPERM


def test_stats_of_a_region_that_is_not_set_are_absent() -> None:
    with steered() as device, pytest.raises(KernelCallError) as caught:
        device.device.stats(1)
    assert caught.value.errno == errno.ENOENT


def test_a_reset_needs_programs_that_have_one() -> None:
    with steered() as device:
        with pytest.raises(KernelCallError) as caught:
            device.device.reset()
        assert caught.value.errno == errno.EOPNOTSUPP
        device.link.detach()
        with pytest.raises(KernelCallError) as caught:
            device.device.reset()
        assert caught.value.errno == errno.ENODEV


def test_a_later_descriptor_opens_an_attached_device() -> None:
    with steered() as first, first.guest.vm.create_bpf_device() as later:
        device_id = first.device.info().id
        later.open(device_id)
        assert later.info().id == device_id
        later.enable_stats(True)
        first.device.close()
        first.read()
        assert later.stats(0).reads == 1
        with pytest.raises(KernelCallError) as caught:
            later.open(device_id)
        assert caught.value.errno == errno.EBUSY


def test_only_what_is_attached_in_the_same_vm_can_be_opened() -> None:
    with steered() as first, steered() as other, first.guest.vm.create_bpf_device() as later:
        for absent in (other.device.info().id, later.info().id, 0):
            with pytest.raises(KernelCallError) as caught:
                later.open(absent)
            assert caught.value.errno == errno.ENOENT
