# SPDX-License-Identifier: GPL-2.0-or-later
"""KVM's descriptors and the bare-metal guest, on the running kernel's KVM."""

from __future__ import annotations

import errno
import os
import struct

import pytest

from kvmbpf.bench.loop_guest import END_PORT, FREE_PORT, LOOP_DONE, Access, LoopGuest
from kvmbpf.errors import KernelCallError, StateError, UnsupportedError, VmmError
from kvmbpf.kernel.fd import OwnedFd
from kvmbpf.kernel.kvm import Kvm
from kvmbpf.kernel.uapi import kvm as uapi
from tests.held import nothing_left

GPA = 0xFEF00000


def test_the_guest_loops_as_often_as_told() -> None:
    with LoopGuest(GPA) as guest:
        guest.begin(Access.NONE, 1000)
        assert guest.vcpu.run() == LOOP_DONE
        assert guest.vcpu.registers().rcx == 0


def test_an_access_to_nothing_leaves_with_its_details() -> None:
    with LoopGuest(GPA) as guest:
        guest.begin(Access.WRITE, 3, value=0x11223344, offset=8)
        for _ in range(3):
            assert guest.vcpu.run() == uapi.KVM_EXIT_MMIO
            mmio = guest.vcpu.mmio()
            assert (mmio.phys_addr, mmio.len, mmio.is_write) == (GPA + 8, 4, 1)
            assert bytes(mmio.data[:4]) == struct.pack("<I", 0x11223344)
        assert guest.vcpu.run() == LOOP_DONE


def test_a_port_access_leaves_with_its_details() -> None:
    with LoopGuest(GPA) as guest:
        for access, direction in ((Access.PIO_WRITE, 1), (Access.PIO_READ, 0)):
            guest.begin(access, 2, value=0x11223344, offset=4)
            for _ in range(2):
                assert guest.vcpu.run() == uapi.KVM_EXIT_IO
                found = guest.vcpu.io()
                assert (found.direction, found.port) == (direction, FREE_PORT + 4)
                assert (found.size, found.count) == (4, 1)
            assert guest.vcpu.run() == LOOP_DONE
            assert guest.vcpu.io().port == END_PORT


def test_loop_refuses_a_port_that_nothing_answers() -> None:
    with (
        LoopGuest(GPA, port=0x700) as guest,
        pytest.raises(VmmError, match="an access to port 0x700 left KVM"),
    ):
        guest.loop(Access.PIO_WRITE, 1)


def test_a_port_ioeventfd_counts_writes_to_its_port_only() -> None:
    with LoopGuest(GPA) as guest, OwnedFd(os.eventfd(0), "eventfd") as event:
        guest.vm.ioeventfd(FREE_PORT, 4, event, pio=True)
        guest.loop(Access.PIO_WRITE, 300)
        assert os.eventfd_read(event.fileno()) == 300
        with pytest.raises(VmmError):
            guest.loop(Access.PIO_WRITE, 1, offset=4)
        with pytest.raises(KernelCallError) as caught:
            guest.vm.ioeventfd(FREE_PORT, 4, event, pio=True)
        assert caught.value.errno == errno.EEXIST
        assert "port 0x600" in str(caught.value)


def test_loop_refuses_to_measure_what_leaves_the_kernel() -> None:
    with LoopGuest(GPA) as guest, pytest.raises(VmmError, match="exit reason 6"):
        guest.loop(Access.READ, 1)


def test_an_ioeventfd_counts_every_write_in_the_kernel() -> None:
    with LoopGuest(GPA) as guest, OwnedFd(os.eventfd(0), "eventfd") as event:
        guest.vm.ioeventfd(GPA, 4, event)
        guest.loop(Access.WRITE, 500)
        assert os.eventfd_read(event.fileno()) == 500


def test_a_kernel_without_the_device_is_said_so() -> None:
    with Kvm.open() as kvm, kvm.create_vm() as vm:
        if vm.has_device_type(uapi.KVM_DEV_TYPE_BPF):
            vm.create_bpf_device().close()
            return
        with pytest.raises(UnsupportedError, match="kvmbpf lab run"):
            vm.create_bpf_device()


def test_descriptors_are_closed_once_and_none_is_left() -> None:
    with nothing_left():
        guest = LoopGuest(GPA)
        guest.close()
        guest.close()
        with pytest.raises(StateError):
            guest.vm.create_bpf_device()


def test_kvm_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KernelCallError) as caught:
        Kvm.open("/dev/null/kvm")
    assert caught.value.errno == errno.ENOTDIR
