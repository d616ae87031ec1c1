# SPDX-License-Identifier: GPL-2.0-or-later
"""The minimal VMM, as a library: the opponent that answers in user space.

minimal_vmm.c is compiled when it is needed. Its loop runs a `LoopGuest`'s vCPU
in this process, without the interpreter between an exit and the next entry.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

from kvmbpf.author.compile import compile_library
from kvmbpf.bench.loop_guest import END_PORT, Access, LoopGuest
from kvmbpf.errors import KernelCallError, VmmError

SOURCE = Path(__file__).resolve().parent / "minimal_vmm.c"

_DONE = 0


class MinimalVmm:
    """The VMM's loop and its register.

    :param library: what `build` made; it may be deleted afterwards.
    """

    def __init__(self, library: Path) -> None:
        self._run = ctypes.CDLL(str(library)).minimal_vmm_run
        self._run.restype = ctypes.c_int
        self._run.argtypes = (
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_uint16,
            ctypes.POINTER(ctypes.c_uint32),
        )
        self._register = ctypes.c_uint32()

    @classmethod
    def build(cls, folder: Path) -> MinimalVmm:
        """Compile the VMM into a folder, and load it.

        :raise UnsupportedError: when there is no C compiler.
        """
        return cls(compile_library(SOURCE, folder / "minimal_vmm.so"))

    @property
    def register(self) -> int:
        """What was written last (C ``__u32``), and what a read gets."""
        return int(self._register.value)

    def loop(self, guest: LoopGuest, access: Access, count: int, *, value: int = 1) -> int:
        """Have a guest make accesses, and return what the last one left in EAX.

        :param guest: whose accesses nothing in the kernel answers.
        :param access: which.
        :param count: how many, at least 1.
        :param value: what a write writes.
        :raise VmmError: when the guest leaves KVM otherwise than by an access.
        :raise KernelCallError: EINTR when a signal came, and others.
        """
        guest.begin(access, count, value=value)
        self.run(guest)
        return int(guest.vcpu.registers().rax) & 0xFFFFFFFF

    def run(self, guest: LoopGuest) -> None:
        """Run a guest that was begun, until its loop is done; raises as `loop`."""
        vcpu = guest.vcpu
        result = self._run(
            vcpu.fileno(), vcpu.shared_address(), END_PORT, ctypes.byref(self._register)
        )
        if result < 0:
            raise KernelCallError("ioctl(KVM_RUN)", -result)
        if result != _DONE:
            raise VmmError(f"the guest left KVM with exit reason {vcpu.exit_reason()}")
