# SPDX-License-Identifier: GPL-2.0-or-later
"""The command's standard streams, and what becomes of it when they fail.

What was printed and could not be written is an error, whatever the command did.
Python alone is silent of a standard output that is closed, and of others complains
once more at its end. Here the first failure is the only one: what is written after
it is dropped, and the command ends with a line that names the cause. A reader that
has gone away (``| head -1``) is no cause for a line: the status is that of a
process that SIGPIPE has killed.

A standard output that is closed ends the command before it has done anything. The
other two are opened on /dev/null then, so that no file of ours gets their number;
what standard error does not take is lost, and the exit status stays.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from kvmbpf.errors import KernelCallError, KvmBpfError, LabError
from kvmbpf.mends import mend, scarce
from kvmbpf.model.vm_name import printable
from kvmbpf.writing import write_some

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

INTERRUPTED = 130
READER_GONE = 128 + signal.SIGPIPE

_STDIN, _STDOUT, _STDERR = range(3)
_NOT_OPEN = "open it for writing; /dev/null takes what nobody wants"
# What Python says where it has no error number of its own, or a wrong one.
_NO_THREAD = "can't start new thread"
_NO_TEMPORARY = "No usable temporary directory"


class _Raw(io.RawIOBase):
    """A standard stream's descriptor: it fails once, and drops what comes after that.

    :param fd: its number (C ``int``), which stays open.
    :param tells: whether a failure is raised, or only kept.
    """

    def __init__(self, fd: int, *, tells: bool) -> None:
        super().__init__()
        self._fd = fd
        self._tells = tells
        self.error: OSError | None = None

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        content = memoryview(data).cast("B")
        if self.error is None:
            try:
                return write_some(self._fd, content)
            except OSError as error:
                self.error = error
                if not self._tells:
                    return len(content)
                if error.errno != errno.EPIPE:
                    raise
                # Of the number click would make an end of its own.
                raise BrokenPipeError from error
        return len(content)


def run_command(body: Callable[[], int]) -> int:
    """Run a command's body; print its error as one line, and return its exit status.

    :param body: returns the exit status.
    """
    if sys.stdout is not sys.__stdout__:  # somebody in this process reads it
        return _told(_outcome(body))
    for fd, flags in ((_STDIN, os.O_RDONLY), (_STDERR, os.O_WRONLY)):
        if not _is_open(fd):
            _open_null(fd, flags)
    if sys.stdin is None:
        sys.stdin = open(_STDIN, closefd=False)  # noqa: SIM115 - as Python's own
    sys.stderr = _guarded(sys.stderr, _Raw(_STDERR, tells=False))
    if not _is_open(_STDOUT):
        _open_null(_STDOUT, os.O_WRONLY)
        return _told(_of_output(OSError(errno.EBADF, os.strerror(errno.EBADF))))
    raw = _Raw(_STDOUT, tells=True)
    sys.stdout = _guarded(sys.stdout, raw)
    outcome = _outcome(body)
    # Whoever called click.echo() may have taken the exception for something else.
    return _told(outcome if raw.error is None else _of_output(raw.error))


@dataclass(frozen=True)
class _Outcome:
    """How a command ended.

    :param status: its exit status.
    :param tell: says why, on standard error.
    """

    status: int
    tell: Callable[[], object] = lambda: None


def _told(outcome: _Outcome) -> int:
    outcome.tell()
    return outcome.status


def _outcome(body: Callable[[], int]) -> _Outcome:
    try:
        status = body()
        sys.stdout.flush()
    except SystemExit as end:
        return _Outcome(end.code if isinstance(end.code, int) else int(end.code is not None))
    except KvmBpfError as error:
        return _refused(error)
    except click.ClickException as error:
        return _Outcome(error.exit_code, error.show)
    except (click.Abort, KeyboardInterrupt):
        return _Outcome(INTERRUPTED, _saying("interrupted"))
    except OSError as error:
        return _Outcome(KernelCallError.exit_code, _saying(_sentence(error)))
    except MemoryError:
        return _refused(KernelCallError("memory", errno.ENOMEM, mend(errno.ENOMEM)))
    except (ImportError, RuntimeError) as error:
        code = errno.EAGAIN if _NO_THREAD in str(error) else scarce(str(error))
        if code is None:
            raise
        return _refused(KernelCallError(str(error), code, mend(code)))
    return _Outcome(status)


def _of_output(error: OSError) -> _Outcome:
    if error.errno == errno.EPIPE:
        return _Outcome(READER_GONE)
    what = _NOT_OPEN if error.errno == errno.EBADF else mend(error.errno)
    return _refused(KernelCallError("write(standard output)", error.errno or 0, what))


def _refused(error: KvmBpfError) -> _Outcome:
    if isinstance(error, LabError):
        return _Outcome(error.exit_code, _saying(error.sentence, *error.console))
    return _Outcome(error.exit_code, _saying(str(error)))


def _saying(sentence: str, *below: str) -> Callable[[], object]:
    """Say a sentence, and the lines that it refers to."""
    lines = (f"kvmbpf: {sentence}", *below)
    return lambda: click.echo("\n".join(map(printable, lines)), err=True)


def _sentence(error: OSError) -> str:
    """Return the line about an error that no command has a better one for."""
    name = errno.errorcode.get(error.errno or 0, "error")
    words = error.strerror or str(error)
    where = f"{error.filename}: " if error.filename is not None else ""
    what = mend(error.errno)
    if error.errno == errno.ENOENT and error.filename is None:
        if _NO_TEMPORARY in words:
            what = "set TMPDIR to a folder that you may write to"
        elif not _has_folder():
            where, what = "the current folder: ", "it was removed: cd to another"
    return f"{where}{name} ({words})" + (f"; {what}" if what else "")


def _has_folder() -> bool:
    try:
        Path.cwd()
    except OSError:
        return False
    return True


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _open_null(fd: int, flags: int) -> None:
    """Open /dev/null as a descriptor that is free; without one it stays free."""
    with contextlib.suppress(OSError):
        opened = os.open(os.devnull, flags | os.O_CLOEXEC)
        if opened != fd:
            os.dup2(opened, fd)
            os.close(opened)
        os.set_inheritable(fd, True)


def _guarded(stream: TextIO | None, raw: _Raw) -> TextIO:
    """Return a standard stream over its descriptor, otherwise as Python has made it.

    What no terminal can show, as half a character of a VM's name, ends no command.
    """
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding if stream else "utf-8",
        errors="backslashreplace",
        line_buffering=stream is None or bool(stream.line_buffering),
    )
