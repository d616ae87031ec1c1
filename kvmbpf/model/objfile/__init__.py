# SPDX-License-Identifier: GPL-2.0-or-later
"""Device objects, read without privilege; the files are not trusted.

`kvmbpf.model.objfile.reader` puts together what the other modules read: `elf` the
sections, `notes` what the device says it is, `btf` and `btfext` its types and source
lines, `layout` its maps and state, `needs` what its programs call, `ops` its
struct_ops maps. `names` has the names of numbers; `describe` makes plain values of
it all.
"""

from kvmbpf.model.objfile.reader import (
    RESET_PROGRAM,
    DeviceObject,
    EntryKind,
    ProgramInfo,
    read_device,
    read_object,
)

__all__ = [
    "RESET_PROGRAM",
    "DeviceObject",
    "EntryKind",
    "ProgramInfo",
    "read_device",
    "read_object",
]
