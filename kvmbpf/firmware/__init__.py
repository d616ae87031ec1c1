# SPDX-License-Identifier: GPL-2.0-or-later
"""Tell the guest's firmware about placed devices.

`kvmbpf.firmware.dt` makes a device tree, `kvmbpf.firmware.acpi` an ACPI table;
each from the same `kvmbpf.placement.Placed`. A guest driver binds to the
device's compatible string in both.
"""

from kvmbpf.firmware.acpi import to_ssdt
from kvmbpf.firmware.dt import to_dtb, to_dts

__all__ = ["to_dtb", "to_dts", "to_ssdt"]
