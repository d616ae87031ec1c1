# SPDX-License-Identifier: GPL-2.0-or-later
"""A descriptor has one owner: closed once, not used afterwards."""

from __future__ import annotations

import errno
import os

import pytest

from kvmbpf.errors import KernelCallError, StateError
from kvmbpf.kernel.fd import OwnedFd
from kvmbpf.kernel.ioctl import ioctl_struct, ioctl_value
from kvmbpf.kernel.uapi import kvm as uapi


def open_null() -> OwnedFd:
    return OwnedFd(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), "null")


def test_leaving_the_context_closes() -> None:
    with open_null() as fd:
        number = fd.fileno()
        os.fstat(number)
    assert fd.closed
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_closing_twice_is_fine_and_using_it_is_not() -> None:
    fd = open_null()
    fd.close()
    fd.close()
    with pytest.raises(StateError, match="null is closed"):
        fd.fileno()


def test_a_released_descriptor_is_the_callers() -> None:
    with open_null() as fd:
        number = fd.release()
    os.close(number)
    assert fd.closed


def test_a_negative_number_is_no_descriptor() -> None:
    with pytest.raises(ValueError, match="not a descriptor"):
        OwnedFd(-1)


def test_an_ioctl_with_the_wrong_structure_is_not_issued() -> None:
    with open_null() as fd, pytest.raises(TypeError, match="a structure of 12 bytes, not 24"):
        ioctl_struct(fd, uapi.KVM_SET_DEVICE_ATTR, uapi.kvm_create_device(), "set")
    with open_null() as fd, pytest.raises(TypeError, match="takes a structure"):
        ioctl_value(fd, uapi.KVM_SET_DEVICE_ATTR, 0, "set")


def test_a_failed_ioctl_names_itself() -> None:
    with open_null() as fd, pytest.raises(KernelCallError) as caught:
        ioctl_value(fd, uapi.KVM_CREATE_VM, 0, "ioctl(KVM_CREATE_VM)")
    assert caught.value.errno == errno.ENOTTY
    assert str(caught.value).startswith("ioctl(KVM_CREATE_VM): ENOTTY")
