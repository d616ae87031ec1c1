# SPDX-License-Identifier: GPL-2.0-or-later
"""What a natively compiled device calls: kvmbpf's functions and BPF's helpers.

One method for each entry of `abi.CALLS`. They answer as the kernel's do, with the
same error numbers; what the verifier would have refused is kept as an error and
raised when the device has returned.
"""

from __future__ import annotations

import ctypes
import errno
import random
from collections.abc import Callable
from typing import Any

from kvmbpf.model.spec import DeviceSpec, Trigger
from kvmbpf.testing import abi
from kvmbpf.testing.agenda import Agenda, Deferred
from kvmbpf.testing.maps import NativeMap, RingMap
from kvmbpf.testing.native import DeviceBug, NativeLibrary
from kvmbpf.testing.replies import Irq
from kvmbpf.testing.text import FormatError, format_text

_POINTERS = ("map_lookup", "ring_reserve")
_LINES = 32
_LATER_BYTES = 64  # more than struct kvmbpf_later has; the device does not look into it
_CAPACITY = 1024  # SCHED_CAPACITY_SCALE


class Host:
    """The host, and the guest's memory, as one device sees them.

    :param spec: the device.
    :param library: the device, not connected yet.
    :param maps: its maps by the address of their declaration.
    :param memory: the guest's, from address 0.
    :param vcpus: how many the guest has.
    :param seed: of bpf_get_prandom_u32().
    :param now_ns: the time to begin with (C ``__u64``).
    """

    def __init__(
        self,
        spec: DeviceSpec,
        library: NativeLibrary,
        maps: dict[int, NativeMap],
        *,
        memory: bytearray,
        vcpus: int,
        seed: int,
        now_ns: int,
    ) -> None:
        self._levels = [irq.trigger is Trigger.LEVEL for irq in spec.irqs]
        self._library = library
        self._maps = maps
        self._numbers = random.Random(seed)  # noqa: S311 - to be the same each time
        self._error: BaseException | None = None
        self._sleeps = False
        self._held: int | None = None  # the address of a bpf_spin_lock
        self._where = "the device"
        self._started: dict[int, Deferred] = {}  # by an access, once at least
        self._running: Deferred | None = None
        self.memory = memory
        self.vcpus = vcpus
        self.agenda = Agenda(now_ns, self._run_deferred)
        self.tai_offset_ns = 0
        self.cpu_freq_khz = 0
        self.cpu_max_freq_khz = 0
        self.irqs: list[Irq] = []
        self.lines: dict[int, int] = {}
        self.access_irqs: dict[int, int] = {}
        self.kicks: list[int] = []
        self.uclamps: dict[int, tuple[int, int]] = {}
        self.log: list[str] = []
        library.connect({name: self._contained(name) for name in abi.CALLS})

    # calling the device

    def run(self, function: int, argument: int | None, where: str, *, sleeps: bool) -> int:
        """Call a body of the device; return what it returned (C ``int``).

        :param where: which body, for errors.
        :param sleeps: whether it may.
        :raise DeviceBug: when it did what the verifier would have refused.
        """
        __tracebackhide__ = True
        self._where, self._sleeps = where, sleeps
        self.access_irqs = {}
        try:
            result = self._library.call(function, argument)
            error, self._error = self._error, None
            if error is not None:
                raise error
            self._check_end()
        finally:
            self._error = self._held = None
            for item in self._maps.values():
                item.gone.clear()
        return ctypes.c_int32(result).value

    def _run_deferred(self, item: Deferred) -> None:
        kind = "KVMBPF_WORK" if item.work else "KVMBPF_TIMER"
        later = ctypes.create_string_buffer(_LATER_BYTES)
        self._running = item
        try:
            self.run(item.body, ctypes.addressof(later), f"{kind}({item.name})", sleeps=item.work)
        finally:
            self._running = None

    def _check_end(self) -> None:
        if self._held is not None:
            raise self._bug("a bpf_spin_lock was left locked")
        for item in self._maps.values():
            if isinstance(item, RingMap) and item.reserved:
                item.reserved.clear()
                raise self._bug(
                    f"a record of {item.definition.name} was neither submitted nor discarded"
                )

    def _contained(self, name: str) -> Callable[..., Any]:
        """Keep an exception from ctypes, which would print it and go on."""
        method = getattr(self, f"_{name}")

        def call(*arguments: Any) -> Any:  # noqa: ANN401 - ctypes'
            try:
                if self._held is not None and name != "lock":
                    raise self._bug("calls a function while a bpf_spin_lock is held")
                return method(*arguments)
            except BaseException as error:
                if self._error is None:
                    self._error = error
                return None if name in _POINTERS else -errno.EIO

        return call

    def _bug(self, sentence: str) -> DeviceBug:
        return DeviceBug(f"{self._where}: {sentence}")

    # kvmbpf's own

    def _irq(self, index: int, level: int) -> int:
        if index >= _LINES:
            return -errno.EINVAL
        if index >= len(self._levels):
            return -errno.ENOENT
        level = int(level != 0)
        if self._levels[index]:
            self.lines[index] = level
        elif not level:
            return 0
        self.access_irqs[index] = level
        self.irqs.append(Irq(index, level))
        return 0

    def deassert(self) -> None:
        """Let all level-triggered lines go down, as a reset does."""
        for index, level in self.lines.items():
            if level:
                self.lines[index] = 0
                self.irqs.append(Irq(index, 0))

    def _guest(self, gpa: int, buffer: int | None, size: int, write: int) -> int:
        name = "a write of guest memory" if write else "a read of guest memory"
        if not self._sleeps:
            raise self._bug(f"{name} in a body that may not sleep")
        content = self._library.read(buffer, size, name)  # all of it is there
        if gpa + size > len(self.memory):
            return -errno.EFAULT
        if write:
            self.memory[gpa : gpa + size] = content
        else:
            self._library.write(buffer, bytes(self.memory[gpa : gpa + size]), name)
        return 0

    def _known(self, address: int, starter: int, *, work: bool) -> Deferred | None:
        """Return a timer or work, or None when no access has started it before."""
        if starter == abi.BY_ACCESS:
            found = abi.Deferred.from_address(address)
            name = found.name.decode(errors="replace")
            self._started[address] = Deferred(name, found.body, work)
        return self._started.get(address)

    def _timer_start(self, timer: int, ns: int, starter: int) -> int:
        known = self._known(timer, starter, work=False)
        if known is None:
            return -errno.ENODEV
        self.agenda.start_timer(timer, known, ns)
        return 0

    def _timer_cancel(self, timer: int) -> int:
        known = self._started.get(timer)
        if known is not None and known is self._running:
            return -errno.EDEADLK
        return int(self.agenda.cancel_timer(timer))

    def _work_start(self, work: int, starter: int) -> int:
        known = self._known(work, starter, work=True)
        if known is None:
            return -errno.ENODEV
        self.agenda.start_work(work, known)
        return 0

    def _kick(self, vcpu: int) -> int:
        if vcpu >= self.vcpus:
            return -errno.ENOENT
        self.kicks.append(vcpu)
        return 0

    def _uclamp(self, vcpu: int, low: int, high: int) -> int:
        if not self._sleeps:
            raise self._bug("kvmbpf_uclamp() needs a body that may sleep")
        if not low <= high <= _CAPACITY:
            return -errno.EINVAL
        self.uclamps[vcpu] = (low, high)
        return 0

    def _frequency(self, highest: int) -> int:
        return self.cpu_max_freq_khz if highest else self.cpu_freq_khz

    def _log(self, text: bytes | None, arguments: Any, count: int) -> None:  # noqa: ANN401
        self.log.append(self._format(text, arguments, count))

    def _format(self, text: bytes | None, arguments: Any, count: int) -> str:  # noqa: ANN401
        def read_string(address: int) -> bytes | None:
            return self._library.read_string(address, "%s")

        try:
            return format_text(
                (text or b"").decode(errors="replace"), arguments[:count], read_string
            )
        except FormatError as error:
            raise self._bug(str(error)) from error

    # BPF's helpers

    def _clock(self, which: int) -> int:
        return self.agenda.now_ns + (self.tai_offset_ns if which == abi.TAI else 0)

    def _random(self) -> int:
        return self._numbers.getrandbits(32)

    def _lock(self, address: int | None, take: int) -> None:
        if not take:
            held, self._held = self._held, None
            if held is None or held != address:
                raise self._bug("bpf_spin_unlock() of a lock that is not held")
        elif self._held is not None:
            raise self._bug("bpf_spin_lock() while a lock is held")
        else:
            self._held = address

    def _map(self, address: int | None) -> NativeMap:
        found = self._maps.get(address or 0)
        if found is None:
            raise self._bug(f"no map lies at {address or 0:#x}")
        return found

    def _map_key(self, found: NativeMap, key: int | None) -> bytes:
        definition = found.definition
        return self._library.read(key, definition.key.size, f"a key of map {definition.name}")

    def _map_lookup(self, address: int | None, key: int | None) -> int | None:
        found = self._map(address)
        cell = found.lookup(self._map_key(found, key))
        return None if cell is None else ctypes.addressof(cell)

    def _map_update(
        self, address: int | None, key: int | None, value: int | None, flags: int
    ) -> int:
        found = self._map(address)
        definition = found.definition
        where = f"a value of map {definition.name}"
        raw = self._map_key(found, key) if definition.key.size else b""
        return found.update(raw, self._library.read(value, definition.value.size, where), flags)

    def _map_delete(self, address: int | None, key: int | None) -> int:
        found = self._map(address)
        return found.delete(self._map_key(found, key))

    def _map_take(self, address: int | None, value: int | None, remove: int) -> int:
        found = self._map(address)
        taken = found.take(bool(remove))
        size, where = found.definition.value.size, f"a value of map {found.definition.name}"
        self._library.write(value, bytes(size) if taken is None else taken, where)
        return -errno.ENOENT if taken is None else 0

    def _map_for_each(
        self, address: int | None, callback: int, context: int | None, flags: int
    ) -> int:
        if flags:
            return -errno.EINVAL
        found, count = self._map(address), 0
        for key in found.all_keys():
            cell = found.peek(key)
            if cell is None:
                continue
            held = ctypes.create_string_buffer(key, len(key))
            count += 1
            if (
                self._library.call(
                    callback, address, ctypes.addressof(held), ctypes.addressof(cell), context
                )
                & 0xFFFFFFFF
            ):
                break
        return count

    def _ring(self, address: int | None) -> RingMap:
        found = self._map(address)
        if not isinstance(found, RingMap):
            raise self._bug(f"map {found.definition.name} is no ring buffer")
        return found

    def _ring_reserve(self, address: int | None, size: int, flags: int) -> int | None:
        cell = None if flags else self._ring(address).reserve(size)
        return None if cell is None else ctypes.addressof(cell)

    def _ring_commit(self, record: int | None, discard: int) -> None:
        rings = [item for item in self._maps.values() if isinstance(item, RingMap)]
        if not any(ring.commit(record or 0, bool(discard)) for ring in rings):
            raise self._bug("a record is submitted or discarded that was not reserved")

    def _ring_query(self, address: int | None, flags: int) -> int:
        ring = self._ring(address)
        return ring.definition.max_entries if flags == 1 else ring.used() if flags == 0 else 0

    def _snprintf(
        self,
        place: int | None,
        size: int,
        text: bytes | None,
        arguments: Any,  # noqa: ANN401
        count: int,
    ) -> int:
        whole = self._format(text, arguments, count).encode(errors="replace") + b"\0"
        if size:
            self._library.write(
                place, whole[: size - 1] + b"\0" if len(whole) > size else whole, "bpf_snprintf()"
            )
        return len(whole)
