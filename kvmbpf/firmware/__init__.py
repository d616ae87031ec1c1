# SPDX-License-Identifier: GPL-2.0-or-later
"""Tell the guest's firmware about placed devices.

`kvmbpf.firmware.dt` makes a device tree, `kvmbpf.firmware.acpi` an ACPI table;
each from the same `kvmbpf.placement.Placed`. A guest driver binds to the
device's compatible string in both.
"""
