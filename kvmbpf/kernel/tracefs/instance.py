# SPDX-License-Identifier: GPL-2.0-or-later
"""A tracing instance: buffers of one's own, that disturb no other tracer.

An instance is a folder that is made in ``instances/`` and outlives who made it.
So its name says which process that was, and `remove_abandoned` takes away those
whose process is gone.

Source: Documentation/trace/ftrace.rst, "Instances", v6.12.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from kvmbpf.closing import Closing
from kvmbpf.errors import KernelCallError, StateError, UnsupportedError
from kvmbpf.kernel.fd import OwnedFd
from kvmbpf.kernel.rights import refused
from kvmbpf.kernel.tracefs.layout import PageLayout
from kvmbpf.kernel.tracefs.pages import Page, read_page
from kvmbpf.mends import OF_ANY_CALL

_PREFIX = "kvmbpf"
_NAME = re.compile(rf"{_PREFIX}-(\d+)-(\d+)")
_PROC_MOUNTS = Path("/proc/self/mounts")


def find_tracefs(mounts: Path = _PROC_MOUNTS) -> Path:
    """Return where tracefs is mounted.

    :raise UnsupportedError: when it is not.
    """
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split()
        if len(words) > 2 and words[2] == "tracefs":
            return Path(words[1])
    raise UnsupportedError(
        "tracefs",
        found="it not mounted",
        needed="it mounted, as on /sys/kernel/tracing",
        mend="mount -t tracefs tracefs /sys/kernel/tracing",
    )


def process_start(pid: int) -> int | None:
    """Return when a process started, in clock ticks since the boot; None if it is gone.

    With the pid it names a process for good: a pid alone is used again.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        if error.errno in OF_ANY_CALL:
            raise  # it may well be there
        return None
    return int(text.rpartition(")")[2].split()[19])


def remove_abandoned(tracefs: Path) -> list[str]:
    """Remove the instances that processes now gone have left; return their names.

    :raise KernelCallError: when the folder cannot be read.
    """
    instances = tracefs / "instances"
    removed = []
    try:
        names = sorted(entry.name for entry in instances.iterdir())
    except OSError as error:
        raise refused("open", instances, error) from error
    for name in names:
        match = _NAME.fullmatch(name)
        if match is not None and process_start(int(match[1])) != int(match[2]):
            with contextlib.suppress(OSError):  # another kvmbpf was faster
                (instances / name).rmdir()
                removed.append(name)
    return removed


class TraceInstance(Closing):
    """An instance of this process, that records one event.

    :param tracefs: where tracefs is mounted.
    :param event: as ``kvm/kvm_bpf_access``.
    :param buffer_kib: of each CPU's buffer, in KiB.
    :raise UnsupportedError: when the kernel has no such event.
    :raise KernelCallError: when tracefs is not permitted.
    """

    def __init__(self, tracefs: Path, event: str, *, buffer_kib: int = 1024) -> None:
        self._tracefs = tracefs
        own = f"{_PREFIX}-{os.getpid()}-{process_start(os.getpid())}"
        self.path = tracefs / "instances" / own
        self._event = self.path / "events" / event
        self._pipes: list[OwnedFd] = []
        self._closed = False
        try:
            self.path.mkdir()
        except OSError as error:
            raise refused("mkdir", self.path, error) from error
        try:
            self._prepare(event, buffer_kib)
        except BaseException:
            self.close()
            raise

    def _prepare(self, event: str, buffer_kib: int) -> None:
        if not self._event.is_dir():
            raise UnsupportedError(
                f"the tracepoint {event.replace('/', ':')}",
                found="a kernel without it",
                needed="a kernel with the series of kernel_patches/",
                mend="boot such a kernel, or try `kvmbpf lab run -- COMMAND`",
            )
        self._write(self.path / "trace_clock", "mono")
        self._write(self.path / "buffer_size_kb", str(buffer_kib))
        self.layout = PageLayout(_read(self._tracefs / "events/header_page"))
        for cpu in sorted((self.path / "per_cpu").glob("cpu*"), key=lambda path: path.name):
            pipe = cpu / "trace_pipe_raw"
            try:
                fd = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                raise refused("open", pipe, error) from error
            self._pipes.append(OwnedFd(fd, str(pipe)))

    @property
    def format(self) -> str:
        """The event's format file.

        :raise KernelCallError: when it cannot be read.
        """
        return _read(self._event / "format")

    def start(self, condition: str) -> None:
        """Record from now on.

        :param condition: a filter on the event's fields, as ``device == 3``.
        :raise KernelCallError: when the kernel refuses it.
        :raise StateError: when the instance is closed.
        """
        if self._closed:
            raise StateError(f"{self.path} is closed")
        self._write(self._event / "filter", condition)
        self._write(self._event / "enable", "1")

    def stop(self) -> None:
        """Record no more; what was recorded can still be read."""
        self._write(self._event / "enable", "0")

    def read(self) -> list[Page]:
        """Return what was recorded since the last call, CPU by CPU; never waits.

        :raise KernelCallError: when the kernel refuses.
        :raise StateError: when the instance is closed.
        """
        if self._closed:
            raise StateError(f"{self.path} is closed")
        pages = []
        for pipe in self._pipes:
            while True:
                try:
                    raw = os.read(pipe.fileno(), self.layout.page_bytes)
                except BlockingIOError:
                    break
                except OSError as error:
                    raise KernelCallError(f"read({pipe.name})", error.errno or 0) from error
                if not raw:
                    break
                pages.append(read_page(raw, self.layout))
        return pages

    def close(self) -> None:
        """Remove the instance; twice is fine."""
        if self._closed:
            return
        self._closed = True
        for pipe in self._pipes:
            pipe.close()
        # Busy, or gone: the next trace removes what is left.
        with contextlib.suppress(OSError):
            self.path.rmdir()

    @staticmethod
    def _write(path: Path, text: str) -> None:
        try:
            path.write_text(text)
        except OSError as error:
            raise refused("write", path, error) from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise refused("open", path, error) from error
