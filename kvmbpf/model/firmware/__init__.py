# SPDX-License-Identifier: GPL-2.0-or-later
"""Tell the guest's firmware about placed devices.

`kvmbpf.model.firmware.dt` makes a device tree, or puts nodes into one that a machine
has; `kvmbpf.model.firmware.acpi` makes an ACPI table; each from the same
`kvmbpf.model.placement.Placed`. A guest driver binds to the device's compatible
strings in both, and reads the same properties.
"""

from kvmbpf.model.firmware.acpi import to_ssdt
from kvmbpf.model.firmware.dt import Base, to_dtb, to_dts

__all__ = ["Base", "to_dtb", "to_dts", "to_ssdt"]
