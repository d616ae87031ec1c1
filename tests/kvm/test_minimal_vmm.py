# SPDX-License-Identifier: GPL-2.0-or-later
"""The minimal VMM answers in user space what nothing in the kernel does."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from kvmbpf.bench.loop_guest import LOOP_DONE, Access, LoopGuest
from kvmbpf.bench.minimal_vmm import MinimalVmm
from kvmbpf.errors import KernelCallError, StateError, VmmError
from kvmbpf.kernel.fd import OwnedFd

GPA = 0xFEF00000


@pytest.fixture(scope="module")
def vmm(tmp_path_factory: pytest.TempPathFactory) -> MinimalVmm:
    return MinimalVmm.build(tmp_path_factory.mktemp("vmm"))


@pytest.mark.parametrize("write", [Access.WRITE, Access.PIO_WRITE])
@pytest.mark.parametrize("read", [Access.READ, Access.PIO_READ])
def test_a_read_gets_what_was_written(vmm: MinimalVmm, write: Access, read: Access) -> None:
    with LoopGuest(GPA) as guest:
        vmm.loop(guest, write, 3, value=0x11223344)
        assert vmm.register == 0x11223344
        assert vmm.loop(guest, read, 3, value=5) == 0x11223344


@pytest.mark.parametrize("access", list(Access))
def test_it_answers_every_access_of_the_loop(vmm: MinimalVmm, access: Access) -> None:
    with LoopGuest(GPA) as guest:
        vmm.loop(guest, access, 200)
        assert guest.vcpu.registers().rcx == 0


def test_it_does_not_see_what_the_kernel_answers(vmm: MinimalVmm) -> None:
    with LoopGuest(GPA) as guest, OwnedFd(os.eventfd(0), "eventfd") as event:
        vmm.loop(guest, Access.WRITE, 1, value=1)
        guest.vm.ioeventfd(GPA, 4, event)
        vmm.loop(guest, Access.WRITE, 7, value=2)
        assert vmm.register == 1
        assert os.eventfd_read(event.fileno()) == 7


def test_an_exit_that_it_does_not_know_is_an_error(vmm: MinimalVmm) -> None:
    with LoopGuest(GPA) as guest:
        guest.vcpu.start_at(0xF000)  # no memory there: KVM_EXIT_INTERNAL_ERROR
        with pytest.raises(VmmError, match="the guest left KVM with exit reason 17"):
            vmm.run(guest)


def test_a_failing_run_names_the_call_and_its_errno(vmm: MinimalVmm, tmp_path: Path) -> None:
    with LoopGuest(GPA) as guest, (tmp_path / "file").open("w") as file:
        guest.begin(Access.NONE, 1)
        spare = os.dup(guest.vcpu.fileno())
        os.dup2(file.fileno(), guest.vcpu.fileno())
        try:
            with pytest.raises(KernelCallError) as caught:
                vmm.run(guest)
        finally:
            os.dup2(spare, guest.vcpu.fileno())
            os.close(spare)
        assert caught.value.errno == errno.ENOTTY
        assert str(caught.value).startswith("ioctl(KVM_RUN): ENOTTY")
        assert guest.vcpu.run() == LOOP_DONE


def test_a_closed_guest_is_an_error(vmm: MinimalVmm) -> None:
    guest = LoopGuest(GPA)
    guest.close()
    with pytest.raises(StateError):
        vmm.loop(guest, Access.NONE, 1)
