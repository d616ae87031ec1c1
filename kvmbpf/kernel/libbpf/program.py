# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs of an opened object, and running the ones that can be called.

A program's descriptor is libbpf's and ends with its object. `test_run()` calls
a ``SEC("syscall")`` program with a context that is copied in and out: whoever
has the descriptor may do so, without privilege.
"""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable
from dataclasses import dataclass

from kvmbpf.errors import StateError
from kvmbpf.kernel.libbpf.lib import call_failed, libbpf
from kvmbpf.kernel.libbpf.protos import bpf_test_run_opts
from kvmbpf.kernel.uapi.kvmbpf import kvmbpf_call


@dataclass(frozen=True)
class TestRun:
    """What a call of a program gave.

    :param result: the program's return value (C ``int``).
    :param context: its context afterwards.
    """

    __test__ = False  # not a test class, whatever its name says

    result: int
    context: bytes


class BpfProgram:
    """A program of an opened object; made by `BpfObject` only.

    :param handle: gives the ``struct bpf_program *``, or refuses when the
        object is closed.
    """

    def __init__(self, handle: Callable[[], int]) -> None:
        self._handle = handle
        lib, this = libbpf(), handle()
        self.name: str = lib.bpf_program__name(this).decode(errors="replace")
        self.section: str = lib.bpf_program__section_name(this).decode(errors="replace")

    @property
    def handle(self) -> int:
        """The ``struct bpf_program *``, libbpf's.

        :raise StateError: when the object is closed.
        """
        return self._handle()

    @property
    def fd(self) -> int:
        """The descriptor (C ``int``), libbpf's: valid until the object is closed.

        :raise StateError: when the program is not loaded, or the object is closed.
        """
        fd: int = libbpf().bpf_program__fd(self._handle())
        if fd < 0:
            raise StateError(f"program {self.name} is not loaded")
        return fd

    @property
    def insn_count(self) -> int:
        """The number of instructions (8 bytes each), as the object has them."""
        return int(libbpf().bpf_program__insn_cnt(self._handle()))

    @property
    def autoload(self) -> bool:
        """Whether loading the object loads this program.

        :raise StateError: (set) when the object is loaded or closed.
        """
        return bool(libbpf().bpf_program__autoload(self._handle()))

    @autoload.setter
    def autoload(self, value: bool) -> None:
        if libbpf().bpf_program__set_autoload(self._handle(), value) < 0:
            raise StateError(f"program {self.name} is loaded already")

    def test_run(self, context: bytes = b"") -> TestRun:
        """Call the program once, by BPF_PROG_TEST_RUN.

        :param context: copied in; a ``SEC("syscall")`` program may change it.
        :raise StateError: when the program is not loaded, or the object is closed.
        :raise KernelCallError: when the kernel refuses, as for a context that
            is shorter than what the program uses.
        """
        buffer = ctypes.create_string_buffer(context, max(len(context), 1))
        opts = bpf_test_run_opts(sz=ctypes.sizeof(bpf_test_run_opts))
        if context:
            opts.ctx_in = ctypes.addressof(buffer)
            opts.ctx_size_in = len(context)
        result: int = libbpf().bpf_prog_test_run_opts(self.fd, ctypes.byref(opts))
        if result < 0:
            hint = ""
            if result == -errno.EINVAL:
                hint = f'is it SEC("syscall"), and its context longer than {len(context)} bytes?'
            raise call_failed(f"BPF_PROG_TEST_RUN({self.name})", result, hint)
        value = ctypes.c_int32(opts.retval).value
        return TestRun(value, buffer.raw[: len(context)])

    def call(self, access: kvmbpf_call) -> kvmbpf_call:
        """Call a device's program of the second kind, as a VMM does.

        :param access: what the guest does; it is not changed.
        :return: the same with the answer, the result and the interrupts.
        :raise StateError: as `test_run`.
        :raise KernelCallError: as `test_run`.
        """
        return kvmbpf_call.from_buffer_copy(self.test_run(bytes(access)).context)

    def __repr__(self) -> str:
        return f"<BpfProgram {self.name}>"
