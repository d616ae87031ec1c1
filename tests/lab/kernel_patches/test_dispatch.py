# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest sees of a program: answers, declines, faults, interrupts."""

from __future__ import annotations

import errno
import os

import pytest

from kvmbpf.bench.loop_guest import LOOP_DONE, Access, LoopGuest
from kvmbpf.errors import KernelCallError
from kvmbpf.kernel.fd import OwnedFd
from kvmbpf.kernel.libbpf import BpfObject, StructOps
from kvmbpf.kernel.uapi import kvm as uapi
from kvmbpf.manager.backends import kernel
from tests.lab.objects import device_object
from tests.lab.steered import DECLINE, GPA, placed_steered, reaches_vmm, steered

pytestmark = pytest.mark.debug_kernel
ALL_ONES = 0xFFFFFFFF


def test_without_a_program_an_access_reaches_the_vmm() -> None:
    with LoopGuest(GPA) as guest:
        assert reaches_vmm(guest)


def test_a_read_is_answered_with_the_programs_value() -> None:
    with steered() as device:
        device.set(answer=0x1122334455667788)
        assert device.read(0x10) == 0x55667788
        assert (device.get("seen_offset"), device.get("seen_len")) == (0x10, 4)
        assert (device.get("seen_region"), device.get("seen_vcpu")) == (0, 0)
        assert device.get("calls") == 1


def test_a_write_arrives_zero_extended() -> None:
    with steered() as device:
        device.write(0xFFFFFFFE, 0xFFC)
        assert device.get("seen_value") == 0xFFFFFFFE
        assert (device.get("seen_offset"), device.get("seen_len")) == (0xFFC, 4)


def test_nothing_of_a_read_is_there_before_the_program_ran() -> None:
    with steered() as device:
        device.read()
        assert device.get("seen_value") == 0


@pytest.mark.parametrize("access", [Access.READ, Access.WRITE])
def test_a_declined_access_reaches_the_vmm(access: Access) -> None:
    with steered() as device:
        device.set(result=DECLINE)
        assert reaches_vmm(device.guest, access, 0x40)
        assert device.get("calls") == 1
        device.set(result=0)
        assert not reaches_vmm(device.guest, access, 0x40)


def test_an_access_beside_the_region_is_not_the_devices() -> None:
    with steered() as device:
        assert reaches_vmm(device.guest, Access.READ, 0x1000)
        assert reaches_vmm(device.guest, Access.READ, -4)
        assert device.get("calls") == 0


def test_an_access_across_the_end_is_the_devices_up_to_it() -> None:
    with steered() as device:
        device.set(answer=0x1234)
        guest = device.guest
        guest.begin(Access.READ, 1, offset=0xFFE)
        assert guest.vcpu.run() == uapi.KVM_EXIT_MMIO
        mmio = guest.vcpu.mmio()
        assert (mmio.phys_addr, mmio.len) == (GPA + 0x1000, 2)
        guest.vcpu.answer_mmio(b"\xcd\xab")
        assert guest.vcpu.run() == LOOP_DONE
        assert guest.vcpu.registers().rax & 0xFFFFFFFF == 0xABCD1234
        assert device.get("calls") == 1
        assert (device.get("seen_offset"), device.get("seen_len")) == (0xFFE, 2)


@pytest.mark.parametrize("result", [-1, -5, 1, -4095, 0x7FFFFFFF, -0x80000000])
def test_a_fault_reads_all_ones_and_drops_a_write(result: int) -> None:
    with steered() as device:
        device.set(result=result, answer=0x1234)
        assert device.read() == ALL_ONES
        device.write(1)
        assert device.get("calls") == 2
        device.set(result=0)
        assert device.read() == 0x1234


def test_an_absent_callback_declines() -> None:
    placed = placed_steered()
    with (
        LoopGuest(GPA, irqchip=True) as guest,
        BpfObject.open(device_object("sleepable")) as loaded,
        kernel.create_device(guest.vm, placed) as device,
    ):
        loaded.load()
        ops = StructOps(loaded, kernel.OPS_MAP)
        ops.prepare(device_fd=device.fileno())
        with ops.attach():
            assert guest.loop(Access.READ, 1) == 0x51EE9, "a sleepable program answers"
            assert reaches_vmm(guest, Access.WRITE)


def test_an_edge_interrupt_is_one_edge_a_call() -> None:
    with steered() as device:
        pic = device.guest.vm.pic_state()
        assert not pic.irr & 1 << 5
        device.set(**{"raise": 1}, irq=0, level=1)
        device.write(1)
        pic = device.guest.vm.pic_state()
        assert pic.irr & 1 << 5, "the edge is latched"
        assert not pic.last_irr & 1 << 5, "and the line is low again"
        assert device.get("irq_result") == 0


def test_level_zero_of_an_edge_interrupt_does_nothing() -> None:
    with steered() as device:
        device.set(**{"raise": 1}, irq=0, level=0)
        device.write(1)
        assert device.get("irq_result") == 0
        assert not device.guest.vm.pic_state().irr & 1 << 5


def test_a_level_interrupt_stays_until_it_is_lowered() -> None:
    with steered() as device:
        device.set(**{"raise": 1}, irq=1, level=1)
        device.write(1)
        assert device.guest.vm.pic_state().last_irr & 1 << 6
        device.set(level=0)
        device.write(1)
        assert not device.guest.vm.pic_state().last_irr & 1 << 6


def test_detaching_lowers_what_is_asserted() -> None:
    with steered() as device:
        device.set(**{"raise": 1}, irq=1, level=1)
        device.write(1)
        device.link.detach()
        assert not device.guest.vm.pic_state().last_irr & 1 << 6


@pytest.mark.parametrize(
    ("irq", "number"), [(2, errno.ENOENT), (31, errno.ENOENT), (32, errno.EINVAL)]
)
def test_an_irq_that_is_not_there_is_refused_to_the_program(irq: int, number: int) -> None:
    with steered() as device:
        device.set(**{"raise": 1}, irq=irq, level=1)
        device.write(1)
        assert device.get("irq_result") == -number


def test_a_place_on_guest_memory_is_refused() -> None:
    placed = placed_steered()
    with (
        LoopGuest(GPA) as guest,
        BpfObject.open(device_object("steered_v1")) as loaded,
        guest.vm.create_bpf_device() as device,
    ):
        device.set_region(0, 0, 0x1000)
        loaded.load()
        with pytest.raises(KernelCallError) as caught:
            kernel.attach(device, placed.spec, loaded)
        assert caught.value.errno == errno.EEXIST


@pytest.mark.parametrize("length", [0, 4])
def test_a_place_on_another_in_kernel_device_is_refused(length: int) -> None:
    placed = placed_steered()
    with (
        LoopGuest(GPA, irqchip=True) as guest,
        OwnedFd(os.eventfd(0), "eventfd") as event,
        BpfObject.open(device_object("steered_v1")) as loaded,
        kernel.create_device(guest.vm, placed) as device,
    ):
        guest.vm.ioeventfd(GPA + 0x800, length, event)
        loaded.load()
        with pytest.raises(KernelCallError) as caught:
            kernel.attach(device, placed.spec, loaded)
        assert caught.value.errno == errno.EEXIST
        assert reaches_vmm(guest)
