# SPDX-License-Identifier: GPL-2.0-or-later
"""The errors that kvmbpf raises, and the exit code of each.

    KvmBpfError                   1
     |-- KernelCallError         10  a system call failed (also an OSError)
     |-- VerifierError           11  the kernel's verifier refused a program
     |-- UnsupportedError        12  something needed is missing or too old
     |-- StateError              13  not possible in the present state
     |    `-- LayoutError        14  a map's state cannot be carried over
     |-- BadFileError            15  a file is not what it should be
     |-- VmmError                16  the VMM refused, or went away
     |-- PlacementError          17  no room for the device on the guest's bus
     `-- LabError                18  the lab could not be built or booted

The command line prints `str(error)`, one line, and exits with `exit_code`.
Exit code 2 is a wrong command line; `kvmbpf lab run` passes its command's own
exit code through.
"""

from __future__ import annotations

import errno as _errno
import os
from pathlib import Path
from typing import ClassVar


class KvmBpfError(Exception):
    """Root of every error that kvmbpf raises on purpose."""

    exit_code: ClassVar[int] = 1


class KernelCallError(KvmBpfError, OSError):
    """A system call failed.

    :param call: the call's name with its telling arguments, as in
        ``ioctl(KVM_CREATE_DEVICE, type=BPF)``.
    :param errno: the error number, positive.
    :param hint: what the reader can do about it, or empty.
    """

    exit_code = 10

    def __init__(self, call: str, errno: int, hint: str = "") -> None:
        OSError.__init__(self, errno, os.strerror(errno))
        self.call = call
        self.hint = hint

    def __str__(self) -> str:
        code = self.errno or 0
        name = _errno.errorcode.get(code, str(code))
        text = f"{self.call}: {name} ({os.strerror(code)})"
        return f"{text}; {self.hint}" if self.hint else text


class VerifierError(KvmBpfError):
    """The kernel's verifier refused a program.

    :param subject: the object file, with the program's name where it is known.
    :param log: the verifier's log, whole.
    """

    exit_code = 11

    def __init__(self, subject: str, log: str) -> None:
        super().__init__(subject, log)
        self.subject = subject
        self.log = log

    def __str__(self) -> str:
        return f"{self.subject}: the verifier refused it:\n{self.log.rstrip()}"


class UnsupportedError(KvmBpfError):
    """Something that is needed is missing, or too old.

    :param what: the thing, as in ``libbpf``.
    :param found: what was found, as in ``1.1.2`` or ``nothing``.
    :param needed: what is needed, as in ``1.3 or newer``.
    :param mend: how to get it.
    """

    exit_code = 12

    def __init__(self, what: str, *, found: str, needed: str, mend: str) -> None:
        super().__init__(what, found, needed, mend)
        self.what = what
        self.found = found
        self.needed = needed
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.what}: found {self.found}, needed {self.needed}; {self.mend}"


class StateError(KvmBpfError):
    """The request does not fit the present state, as a second attach."""

    exit_code = 13


class LayoutError(StateError):
    """A map's content cannot be carried over: its layout differs."""

    exit_code = 14


class BadFileError(KvmBpfError):
    """A file is not what it should be.

    :param path: the file.
    :param reason: what is wrong, and what was expected.
    :param section: the ELF section, where there is one.
    :param offset: the offset in the section (or file), in bytes.
    """

    exit_code = 15

    def __init__(
        self,
        path: str | Path,
        reason: str,
        *,
        section: str | None = None,
        offset: int | None = None,
    ) -> None:
        super().__init__(path, reason, section, offset)
        self.path = Path(path)
        self.reason = reason
        self.section = section
        self.offset = offset

    def __str__(self) -> str:
        place = str(self.path)
        if self.section is not None:
            place += f": section {self.section}"
        if self.offset is not None:
            place += f" offset {self.offset:#x}"
        return f"{place}: {self.reason}"


class VmmError(KvmBpfError):
    """The VMM (QEMU) refused a request, or went away."""

    exit_code = 16


class PlacementError(KvmBpfError):
    """The device does not fit where it was to be placed."""

    exit_code = 17


class LabError(KvmBpfError):
    """The lab's kernel could not be built or booted."""

    exit_code = 18
