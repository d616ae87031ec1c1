# SPDX-License-Identifier: GPL-2.0-or-later
"""A VMM in a process of its own, whose guest times each of its accesses.

It stands for any VMM whose device is updated by a manager in another process. The
guest reads 8 bytes, with its time stamp before and after, and writes down both how
long that took and what it got. The vCPU's thread has real-time priority and sleeps
after each batch of accesses (paced_vcpu.c), so that also on a host with one CPU no
other process is run in the middle of one, and the manager goes on in the pauses.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from kvmbpf.author.compile import compile_library
from kvmbpf.bench.loop_guest import END_PORT
from kvmbpf.closing import Closing
from kvmbpf.errors import KvmBpfError, StateError, VmmError
from kvmbpf.kernel.kvm import Kvm
from kvmbpf.kernel.kvm.vcpu import Vcpu

SOURCE = Path(__file__).resolve().parent / "paced_vcpu.c"

# Accesses of a batch.
BATCH = 32
_PAUSE_NS = 1_000_000
# Of 16 bytes each: some seconds, where an access takes a microsecond.
_ROOM = 1 << 20
_CODE_GPA, _RECORDS_GPA = 0, mmap.PAGESIZE
_MEMORY_BYTES = 2 * mmap.PAGESIZE
_CLOCK_MONOTONIC_COARSE = 6  # include/uapi/linux/time.h; not in Python's time
# The longest time until a batch is done: long enough for emulation.
_PATIENCE_S = 60.0
_DONE = 0

# 16-bit code. The device is at the beginning of DS, the other segments are at 0.
_CODE = bytes.fromhex(
    "bf 00 10"  # begin: mov di, _RECORDS_GPA
    "66 b9 20 00 00 00"  # mov ecx, BATCH
    "0f 31"  # next: rdtsc
    "66 89 c6"  # mov esi, eax
    "0f 6f 07"  # movq mm0, [bx]
    "0f 31"  # rdtsc
    "66 29 f0"  # sub eax, esi
    "26 66 89 05"  # mov es:[di], eax
    "26 0f 7f 45 08"  # movq es:[di+8], mm0
    "83 c7 10"  # add di, 16
    "66 49"  # dec ecx
    "75 e3"  # jnz next
    "e6 80"  # out END_PORT, al
    "eb d6"  # jmp begin
)


class _Control(ctypes.Structure):
    """``struct paced_control``, less its records."""

    _fields_ = (
        ("stop", ctypes.c_uint32),
        ("batch", ctypes.c_uint32),
        ("pause_ns", ctypes.c_uint64),
        ("tick_ns", ctypes.c_uint64),
        ("room", ctypes.c_uint64),
        ("count", ctypes.c_uint64),
        ("tsc_khz", ctypes.c_uint64),
    )


class _Record(ctypes.Structure):
    """``struct paced_record``."""

    _fields_ = (("ticks", ctypes.c_uint64), ("reply", ctypes.c_uint64))


@dataclass(frozen=True, slots=True)
class TimedAccess:
    """One access of the guest.

    :param ns: how long it took, in nanoseconds of the guest's time stamp counter.
    :param reply: what it read (C ``__u64``).
    """

    ns: float
    reply: int


class PacedGuest(Closing):
    """A VMM process; leaving the context ends it.

    :param target: the guest physical address of the device, below 4 GiB.
    :param offset: what it reads there, in bytes from the beginning; below 64 KiB.
    :param folder: where the vCPU's loop is compiled to.
    :raise UnsupportedError: when there is no C compiler.
    :raise VmmError: when the process cannot make a VM, or have real-time priority.
    """

    def __init__(self, target: int, offset: int, folder: Path) -> None:
        library = compile_library(SOURCE, folder / "paced_vcpu.so")
        head = ctypes.sizeof(_Control)
        # Shared with the process, and unmapped when nothing refers to it any more.
        self._shared = mmap.mmap(-1, head + _ROOM * ctypes.sizeof(_Record))
        self._control = _Control.from_buffer(self._shared)
        self._records = (_Record * _ROOM).from_buffer(self._shared, head)
        self._control.batch, self._control.room = BATCH, _ROOM
        self._control.pause_ns = _PAUSE_NS
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=self._be_the_vmm, args=(theirs, target, offset, library), daemon=True
        )
        self._process.start()
        theirs.close()
        self._hear("ready")

    @property
    def pid(self) -> int:
        """Of the process (C ``pid_t``)."""
        return self._process.pid or 0

    @property
    def count(self) -> int:
        """How many accesses the guest has made, by whole batches."""
        return int(self._control.count)

    @contextlib.contextmanager
    def running(self, *, between_ticks: bool) -> Iterator[None]:
        """Have the guest make accesses, inside the block; the first batch is done before.

        :param between_ticks: have no batch meet a tick of the kernel's clock.
        :raise VmmError: when it cannot go on, as when an access comes out of KVM.
        """
        tick_ns = round(time.clock_getres(_CLOCK_MONOTONIC_COARSE) * 1e9)
        self._control.tick_ns = tick_ns if between_ticks else 0
        self._control.stop = 0
        try:
            self._pipe.send("go")
        except OSError:
            self._hear("go")
        self.await_accesses(BATCH)
        try:
            yield
        finally:
            self._control.stop = 1
            self._hear("done")

    def await_accesses(self, count: int) -> int:
        """Wait until the guest has made so many more; return how many it has then.

        Awake: a timer that ends a sleep would be in some access.

        :raise VmmError: when it makes none.
        """
        wanted = self.count + count
        deadline = time.monotonic() + _PATIENCE_S
        while self.count < wanted:
            if self._pipe.poll(0):
                self._hear("accesses")
            if time.monotonic() > deadline:
                raise VmmError("the bench's guest makes no accesses")
        return self.count

    def accesses(self, begin: int, end: int) -> list[TimedAccess]:
        """Return accesses by their numbers, the first one's 0.

        :param begin: of the first.
        :param end: past the last, at most `count`.
        :raise StateError: when later ones were written over the first.
        """
        if self.count - begin > _ROOM:
            raise StateError(f"more than {_ROOM} accesses in one run: measure fewer rounds")
        per_tick = 1e6 / self._control.tsc_khz
        records = (self._records[number % _ROOM] for number in range(begin, end))
        return [TimedAccess(record.ticks * per_tick, record.reply) for record in records]

    def close(self) -> None:
        """End the VM."""
        if self._process.is_alive():
            os.kill(self.pid, signal.SIGKILL)
            self._process.join()
        self._pipe.close()

    def _hear(self, wanted: str) -> None:
        try:
            heard = self._pipe.recv() if self._pipe.poll(_PATIENCE_S) else "it does not answer"
        except (EOFError, OSError):
            heard = "it has ended"
        if heard != wanted:
            raise VmmError(f"the bench's VMM: {heard}")

    def _be_the_vmm(self, pipe: Connection, target: int, offset: int, library: Path) -> None:
        """Run the guest whenever the other side says so; all that goes wrong is told it."""
        self._pipe.close()
        try:
            loop = ctypes.CDLL(str(library)).paced_vcpu_run
            loop.restype = ctypes.c_int
            loop.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint16, *[ctypes.c_void_p] * 2)
            with _guest(target, offset) as (vcpu, batch):
                self._control.tsc_khz = vcpu.tsc_khz()
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
                control = ctypes.addressof(self._control)
                pipe.send("ready")
                while pipe.recv():
                    place = vcpu.shared_address()
                    result: int = loop(vcpu.fileno(), place, END_PORT, batch, control)
                    pipe.send("done" if result == _DONE else _ending(result, vcpu))
        except (KvmBpfError, OSError) as error:
            with contextlib.suppress(OSError):
                pipe.send(str(error))


def _ending(result: int, vcpu: Vcpu) -> str:
    if result < 0:
        return f"ioctl(KVM_RUN): {os.strerror(-result)}"
    return f"the guest left KVM with exit reason {vcpu.exit_reason()}"


@contextlib.contextmanager
def _guest(target: int, offset: int) -> Iterator[tuple[Vcpu, int]]:
    """Give a vCPU that is ready to run, and the address of its records."""
    memory = mmap.mmap(-1, _MEMORY_BYTES)
    pinned = (ctypes.c_char * _MEMORY_BYTES).from_buffer(memory)
    memory[_CODE_GPA : len(_CODE)] = _CODE
    with Kvm.open() as kvm:
        mmap_bytes = kvm.vcpu_mmap_bytes()
        vm = kvm.create_vm()
    with vm:
        vm.create_irqchip()
        vm.set_memory(0, 0, ctypes.addressof(pinned), _MEMORY_BYTES)
        with vm.create_vcpu(0, mmap_bytes) as vcpu:
            vcpu.start_at(_CODE_GPA, {"rbx": offset}, data_base=target)
            yield vcpu, ctypes.addressof(pinned) + _RECORDS_GPA
