# SPDX-License-Identifier: GPL-2.0-or-later
"""`Device`: a device's source, compiled for this machine and driven by a test.

    with Device("counter.bpf.c") as dev:
        dev.poke(0x0, 5)
        assert dev.peek(0x0) == 5
        assert dev.irqs == [(0, 1)]

It needs neither a kernel nor privilege. `Device.on_kernel()` is the same for the
programs as the running kernel has them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Self

from kvmbpf.errors import BadFileError, StateError
from kvmbpf.testing import abi
from kvmbpf.testing.build import build
from kvmbpf.testing.describe import Description, describe
from kvmbpf.testing.globals import Globals, MapView
from kvmbpf.testing.host import Host
from kvmbpf.testing.maps import NativeMap, make_map
from kvmbpf.testing.native import NativeLibrary
from kvmbpf.testing.replies import Access, Irq, Reply, make_reply
from kvmbpf.testing.tested import TestedDevice
from kvmbpf.testing.types import Variable

ONE_SECOND_NS = 1_000_000_000


class Device(TestedDevice):
    """A natively compiled device.

    :param source: its C file; compiled once for each content, see `build`.
    :param memory: bytes of guest memory, from address 0 on.
    :param vcpus: how many the guest has.
    :param seed: of the random numbers that the device gets.
    :param now_ns: the monotonic time to begin with (C ``__u64``).
    :raise BadFileError: when the source cannot be read, does not compile, or
        declares a map of a type that is not there natively.
    :raise UnsupportedError: when there is no clang, or only an older one.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        memory: int = 1 << 20,
        vcpus: int = 1,
        seed: int = 0,
        now_ns: int = ONE_SECOND_NS,
    ) -> None:
        self._built = build(source)
        description = describe(self._built.object, self._built.source)
        super().__init__(description.spec)
        self._library = NativeLibrary(self._built)
        try:
            maps = self._make_maps(description)
            self._read, self._read_sleeps = self._entry("read")
            self._write, self._write_sleeps = self._entry("write")
            self._reset = self._library.entry("reset")
        except BaseException:
            self._library.close()
            raise
        # Less those that nothing uses, and bpf_printk()'s formats.
        here = {
            name: item
            for name, item in description.variables.items()
            if self._library.address(name) is not None
        }
        self._globals = Globals(here, self)
        self._maps = MappingProxyType(
            {item.definition.name: MapView(item) for item in maps.values()}
        )
        self._host = Host(
            description.spec,
            self._library,
            maps,
            memory=bytearray(memory),
            vcpus=vcpus,
            seed=seed,
            now_ns=now_ns,
        )

    @classmethod
    def on_kernel(cls, source: str | Path) -> TestedDevice:
        """Load a device's programs into the running kernel, and drive them there.

        :param source: a device's C file, or an object that was made of one.
        :raise KernelCallError: when the kernel refuses, as without CAP_BPF.
        :raise VerifierError: when the verifier refuses a program.
        """
        # Only who asks for it needs what is behind it: kvmbpf.testing takes no privilege.
        from kvmbpf.testing.kernel import KernelDevice

        return KernelDevice(source)

    def _make_maps(self, description: Description) -> dict[int, NativeMap]:
        maps: dict[int, NativeMap] = {}
        for name, definition in description.maps.items():
            found = self._library.address(name)
            made = make_map(definition)
            if made is None:
                raise BadFileError(
                    self._built.source,
                    f"map {name} is of type {definition.type}, which a native build does not have",
                )
            if found is not None:  # else nothing refers to it
                maps[found[0]] = made
        return maps

    def _entry(self, name: str) -> tuple[int, bool]:
        """Return the body's function, and whether it may sleep."""
        plain = self._library.entry(name)
        sleepable = self._library.entry(f"{name}_sleepable")
        if plain is None and sleepable is None:
            raise BadFileError(self._built.source, f"there is no KVMBPF_{name.upper()}")
        return (plain, False) if plain is not None else (sleepable or 0, True)

    # the guest

    def access(self, access: Access) -> Reply:
        """Make an access; the reply says what came of it.

        :raise StateError: when no such access could reach the device, or it is closed.
        :raise DeviceBug: when the device did what the verifier would have refused.
        """
        __tracebackhide__ = True
        self._check_access(access)
        if not 0 <= access.vcpu < self._host.vcpus:
            raise StateError(f"the guest has {self._host.vcpus} vCPUs, and no vCPU {access.vcpu}")
        call = abi.Call(access.offset, access.value, access.size, access.region, access.vcpu)
        function, sleeps = (
            (self._write, self._write_sleeps) if access.write else (self._read, self._read_sleeps)
        )
        result = self._run(function, call, "write" if access.write else "read", sleeps)
        return make_reply(access, result, int(call.value), self._host.access_irqs)

    def try_reset(self) -> int:
        """Reset the device; return what its KVMBPF_RESET returned (C ``int``)."""
        if self._reset is None:
            raise StateError(f"device {self.spec.name} has no KVMBPF_RESET")
        self._host.deassert()
        return self._run(self._reset, abi.Call(), "reset", sleeps=True)

    def _run(self, function: int, call: abi.Call, name: str, sleeps: bool) -> int:
        __tracebackhide__ = True
        where = f"KVMBPF_{name.upper()}"
        return self._host.run(function, ctypes.addressof(call), where, sleeps=sleeps)

    @property
    def memory(self) -> bytearray:
        """Guest memory, from guest physical address 0 on; a test may write and resize it."""
        return self._host.memory

    # what the device did

    @property
    def irqs(self) -> list[Irq]:
        """The interrupts that the device has set, in order; a test may clear the list."""
        return self._host.irqs

    def _lines(self) -> dict[int, int]:
        return self._host.lines

    @property
    def log(self) -> list[str]:
        """What kvmbpf_log() and bpf_printk() were given, one string each."""
        return self._host.log

    @property
    def kicks(self) -> list[int]:
        """The vCPUs that kvmbpf_kick() was called for, in order."""
        return self._host.kicks

    @property
    def uclamps(self) -> dict[int, tuple[int, int]]:
        """What kvmbpf_uclamp() set last: vCPU to minimum and maximum."""
        return self._host.uclamps

    @property
    def globals(self) -> Globals:
        """The device's global variables by name, to read and to write."""
        return self._globals

    @property
    def maps(self) -> Mapping[str, MapView]:
        """The device's maps by name."""
        return self._maps

    # time

    @property
    def now_ns(self) -> int:
        """The monotonic time (C ``__u64``)."""
        return self._host.agenda.now_ns

    @property
    def tai_offset_ns(self) -> int:
        """What bpf_ktime_get_tai_ns() is ahead of the monotonic time; 0 at first."""
        return self._host.tai_offset_ns

    @tai_offset_ns.setter
    def tai_offset_ns(self, value: int) -> None:
        self._host.tai_offset_ns = value

    @property
    def timers(self) -> dict[str, int]:
        """The timers that are started: name to ns until they expire, the next one first."""
        return self._host.agenda.timers()

    @property
    def works(self) -> list[str]:
        """The works that are started and have not run."""
        return self._host.agenda.works()

    def advance(self, ns: int) -> int:
        """Let time pass: run what is due, in order; return how many bodies ran.

        Works that are started run first, at the present time, then each timer at
        its own time and the works that it starts.

        :param ns: 0 or more.
        :raise StateError: when timers or works go on and on without time passing.
        :raise DeviceBug: when a body did what the verifier would have refused.
        """
        return self._host.agenda.advance(ns)

    def run_works(self) -> int:
        """Run the works that are started, and those that they start; return how many.

        No time passes. Raises as `advance`.
        """
        return self._host.agenda.run_works()

    # the host

    def set_cpu_freq(self, khz: int, highest_khz: int) -> None:
        """Set the frequencies that the device is told; both are 0, unknown, at first."""
        self._host.cpu_freq_khz = khz
        self._host.cpu_max_freq_khz = highest_khz

    # variables

    def load(self, variable: Variable) -> bytes:
        """Read a variable's bytes: for `Globals`."""
        address, _ = self._place(variable)
        return self._library.read(address, variable.type.size, f"global `{variable.name}`")

    def store(self, variable: Variable, content: bytes) -> None:
        """Write a variable's bytes: for `Globals`."""
        address, writable = self._place(variable)
        if not writable:
            raise StateError(f"global `{variable.name}` is a constant")
        self._library.write(address, content, f"global `{variable.name}`")

    def _place(self, variable: Variable) -> tuple[int, bool]:
        found = self._library.address(variable.name)
        if found is None:
            raise StateError(f"global `{variable.name}` is not in the native build")
        return found

    # end

    def close(self) -> None:
        """Unload the device; closing twice is fine."""
        self._library.close()

    def __enter__(self) -> Self:
        return self
