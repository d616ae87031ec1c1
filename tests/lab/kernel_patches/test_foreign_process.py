# SPDX-License-Identifier: GPL-2.0-or-later
"""A process that is not the VMM may manage BPF devices, and nothing else."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator

import pytest

from kvmbpf.errors import KernelCallError, StateError
from kvmbpf.kernel.ioctl import ioctl_struct, ioctl_value
from kvmbpf.kernel.kvm import Vm, borrow_vm
from kvmbpf.kernel.uapi import kvm as uapi
from tests.lab.bare_vmm import BareVmm


@pytest.fixture(scope="module")
def vmm() -> Iterator[BareVmm]:
    with BareVmm() as found:
        yield found


@pytest.fixture
def vm(vmm: BareVmm) -> Iterator[Vm]:
    with borrow_vm(vmm.pid) as found:
        yield found


def test_a_bpf_device_is_created_and_configured(vm: Vm) -> None:
    with vm.create_bpf_device() as device:
        device.set_region(0, 0xFE000000, 0x1000)
        device.set_irq(0, 5)
        assert device.region(0).base == 0xFE000000
        assert device.has_attr(uapi.KVM_DEV_BPF_IRQ, 0)


def _create(vm: Vm, device_type: int, flags: int) -> int:
    return ioctl_struct(
        vm, uapi.KVM_CREATE_DEVICE, uapi.kvm_create_device(device_type, 0, flags), "create"
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda vm: vm.create_irqchip(),
        lambda vm: vm.set_memory(1, 0x10000, 0x10000, 0x1000),
        lambda vm: vm.create_vcpu(1, 0x3000),
        lambda vm: vm.pic_state(),
        lambda vm: ioctl_value(vm, uapi.KVM_CHECK_EXTENSION, uapi.KVM_CAP_BPF_DEVICE, "check"),
        lambda vm: _create(vm, uapi.KVM_DEV_TYPE_VFIO, 0),
        lambda vm: _create(vm, uapi.KVM_DEV_TYPE_VFIO, uapi.KVM_CREATE_DEVICE_TEST),
        lambda vm: _create(vm, 0, 0),
        lambda vm: _create(vm, 0xFFFFFFFF, 0),
    ],
    ids=["irqchip", "memory", "vcpu", "pic", "extension", "vfio", "vfio test", "type 0", "type -1"],
)
def test_everything_else_is_refused_as_before(vm: Vm, call: Callable[[Vm], object]) -> None:
    with pytest.raises(KernelCallError) as caught:
        call(vm)
    assert caught.value.errno == errno.EIO


def test_a_structure_that_is_not_mapped_is_refused(vm: Vm) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    request = ctypes.c_ulong(uapi.KVM_CREATE_DEVICE)
    assert libc.ioctl(vm.fileno(), request, ctypes.c_void_p(8)) == -1
    assert ctypes.get_errno() == errno.EFAULT


def test_a_process_without_a_vm_is_said_to_have_none() -> None:
    with pytest.raises(StateError, match="no KVM virtual machine"):
        borrow_vm(1)


def test_a_process_that_is_gone_is_an_error() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    with pytest.raises(KernelCallError) as caught:
        borrow_vm(pid)
    assert caught.value.errno == errno.ESRCH
