# SPDX-License-Identifier: GPL-2.0-or-later
"""What cannot be looked at for want of a descriptor is not taken for absent."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kvmbpf.author.compile import find_clang
from kvmbpf.errors import KvmBpfError
from kvmbpf.kernel.libbpf.lib import Library
from kvmbpf.kernel.libbpf.object import BpfObject
from kvmbpf.kernel.tracefs.instance import process_start
from qemu_glue.launch import QemuProcess
from qemu_glue.runtime import RuntimeDir
from qemu_glue.vmms import qemu_of


@pytest.fixture
def no_descriptor() -> Iterator[Callable[[], None]]:
    """Return what lets this process open nothing more, until the test's end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def limit() -> None:
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))

    yield limit
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_library_is_not_missing(no_descriptor: Callable[[], None]) -> None:
    no_descriptor()
    with pytest.raises(KvmBpfError, match=r"dlopen\(libabsent.so.1\): EMFILE .*; .* ulimit -n 256"):
        Library("libabsent.so.1")


def test_an_object_is_not_a_bad_one(no_descriptor: Callable[[], None], demo_v1: Path) -> None:
    no_descriptor()
    with pytest.raises(KvmBpfError, match=r"Too many open files.*ulimit -n"):
        BpfObject.open(demo_v1)


def test_a_compiler_is_not_of_an_unknown_version(no_descriptor: Callable[[], None]) -> None:
    no_descriptor()
    with pytest.raises(KvmBpfError, match=r"run .*clang: EMFILE .*ulimit -n"):
        find_clang()


def test_a_process_has_not_gone(no_descriptor: Callable[[], None]) -> None:
    assert process_start(os.getpid())
    no_descriptor()
    with pytest.raises(OSError, match="Too many open files") as caught:
        process_start(os.getpid())
    assert caught.value.errno == errno.EMFILE


def test_a_process_is_not_said_to_be_no_qemu(no_descriptor: Callable[[], None]) -> None:
    assert qemu_of(os.getpid()) is None
    no_descriptor()
    with pytest.raises(OSError, match="Too many open files"):
        qemu_of(os.getpid())


def test_qemu_is_not_said_to_be_missing(no_descriptor: Callable[[], None], tmp_path: Path) -> None:
    (tmp_path / "vm").mkdir(mode=0o700)
    runtime = RuntimeDir(tmp_path / "vm")
    (tmp_path / "vm" / "qmp.cfg").touch()
    with pytest.raises(KvmBpfError, match="x: No such file or directory; install QEMU"):
        QemuProcess([], runtime, program="/absent/x", inherit_stdio=True)
    with (tmp_path / "vm" / "qmp.cfg").open():
        no_descriptor()
    # One is free again: for the configuration, but not for a pipe.
    with pytest.raises(KvmBpfError, match=r"x: Too many open files; .*ulimit -n"):
        QemuProcess([], runtime, program="/absent/x", inherit_stdio=True)
