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
Exit code 2 is a wrong command line, 130 an interrupt, 141 a reader of the output
that went away (`kvmbpf.cli.standard`); `kvmbpf lab run` passes its command's own
exit code through.
"""

from __future__ import annotations

import errno as _errno
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from kvmbpf.mends import OF_ANY_CALL


class KvmBpfError(Exception):
    """Root of every error that kvmbpf raises on purpose.

    Its text is one line; what a compiler, libbpf or the verifier said, whole, is
    `log`: empty, or lines that `kvmbpf --verbose` shows.
    """

    exit_code: ClassVar[int] = 1
    log: str = ""

    def with_log(self, log: str) -> Self:
        """Keep what the tool behind the error said; return the error.

        :param log: all of it, any number of lines.
        """
        self.log = log
        return self


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
        hint = OF_ANY_CALL.get(code, self.hint)
        return f"{text}; {hint}" if hint else text


class VerifierError(KvmBpfError):
    """The kernel's verifier refused a program.

    Its text is one line; the log, which may be megabytes, is an attribute.

    :param subject: the object file, with the program's name where it is known.
    :param log: the verifier's log, whole.
    :param source: the line of the author's source, as in
        ``dev.bpf.c:12 `return table[index];```, or empty where none is known.
    :param sentence: what the verifier says, one line of its log, or empty.
    :param mend: what to change in the source, or empty.
    """

    exit_code = 11

    def __init__(
        self, subject: str, log: str, *, source: str = "", sentence: str = "", mend: str = ""
    ) -> None:
        super().__init__(subject, log, source, sentence, mend)
        self.subject = subject
        self.log = log
        self.source = source
        self.sentence = sentence
        self.mend = mend

    def __str__(self) -> str:
        place = f"{self.subject}: {self.source}" if self.source else self.subject
        said = f"the verifier refused it: {self.sentence or 'it did not say why'}"
        return f"{place}: {said}; {self.mend}" if self.mend else f"{place}: {said}"


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


@dataclass(frozen=True)
class LayoutDifference:
    """One way in which a new program's state differs from the old one's.

    :param state: the map, or the data section as ``.bss``.
    :param place: what in it, as ``variable `queue``` or ``value``; empty for
        the map itself.
    :param struct: the name of the struct or union that has the field; empty
        where it has no name, or the place itself differs.
    :param field: the field of it, or empty.
    :param what: ``moved``, ``size``, ``type``, ``count``, ``gone``, ``new``,
        ``renamed``, ``section``, ``enumerator``, ``kind``, ``key_size``,
        ``value_size``, ``max_entries`` or ``flags``.
    :param before: how it was: an offset or size in bytes, a type, a name.
    :param after: how it is, likewise.
    :param text: all of it as a sentence without `state`.
    """

    state: str
    place: str
    struct: str
    field: str
    what: str
    before: str
    after: str
    text: str

    def __str__(self) -> str:
        return f"state {self.state}: {self.text}"


class LayoutError(StateError):
    """A map's content cannot be carried over: its layout differs.

    :param message: the whole sentence, with the first difference.
    :param differences: every difference, where they are known one by one.
    """

    exit_code = 14

    def __init__(self, message: str, differences: Sequence[LayoutDifference] = ()) -> None:
        super().__init__(message)
        self.differences = tuple(differences)


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
    """The lab's kernel could not be built or booted.

    :ivar console: the last lines of the lab's console; none where it did not boot.
    """

    exit_code = 18

    def __init__(self, message: str, console: Iterable[str] = ()) -> None:
        """Make one of a sentence, and of what the console said last.

        :param console: lines; they are told below the sentence.
        """
        self.console = tuple(console)
        self.message = message
        self.sentence = f"{message}; its console ended with:" if self.console else message
        super().__init__("\n".join((self.sentence, *self.console)))
