# SPDX-License-Identifier: GPL-2.0-or-later
"""Find what is wrong with a device object before anything is loaded.

`check_file` reads an object, and `check_device` applies every rule to it: those of
`kvmbpf.model.check.loading` say what a kernel or the manager would refuse, those of
`kvmbpf.model.check.libbpf_does` what libbpf does by itself and kvmbpf decides, those of
`kvmbpf.model.check.sense` what would load and not do what the device says it does.
It needs no privilege, and no kernel that has devices.
"""

from kvmbpf.model.check.finding import SCHEMA, Finding, Rule, Severity, to_json
from kvmbpf.model.check.rules import check_device, check_file

__all__ = ["SCHEMA", "Finding", "Rule", "Severity", "check_device", "check_file", "to_json"]
