# SPDX-License-Identifier: GPL-2.0-or-later
"""Unit tests of a device, without a kernel or a VM.

    from kvmbpf.testing import Device

    def test_a_write_is_counted() -> None:
        with Device("counter.bpf.c") as dev:
            dev.poke(0, 1)
            assert dev.globals["count"] == 1

docs/devices.md, "Test without a kernel", says what is like the kernel and what is not.
"""

from kvmbpf.testing.device import Device
from kvmbpf.testing.native import DeviceBug
from kvmbpf.testing.replies import (
    Access,
    AccessDeclined,
    AccessError,
    AccessFaulted,
    Irq,
    Reply,
)
from kvmbpf.testing.tested import TestedDevice

__all__ = [
    "Access",
    "AccessDeclined",
    "AccessError",
    "AccessFaulted",
    "Device",
    "DeviceBug",
    "Irq",
    "Reply",
    "TestedDevice",
]
