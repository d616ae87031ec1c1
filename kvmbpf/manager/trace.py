# SPDX-License-Identifier: GPL-2.0-or-later
"""A device's accesses one by one, by KVM's tracepoint ``kvm_bpf_access``.

Recorded by a tracing instance of its own, with a filter on the device's id, so
that no other tracer is disturbed and no other device is recorded. Times are of
CLOCK_MONOTONIC. The tracepoint does not say which vCPU it was; the thread that
it ran on is known, and its name where the VMM names its vCPUs' threads.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kvmbpf.closing import Closing
from kvmbpf.errors import BadFileError, StateError
from kvmbpf.kernel.tracefs import EventLayout, TraceInstance, find_tracefs, remove_abandoned
from kvmbpf.manager.devices import find_device, status
from kvmbpf.manager.store import Store

EVENT = "kvm/kvm_bpf_access"
FIELDS = ("device", "region", "offset", "len", "write", "value", "result", "ns", "common_pid")
# QEMU names a vCPU's thread so with -name debug-threads=on.
_VCPU_THREAD = re.compile(r"CPU (\d+)/KVM")


@dataclass(frozen=True)
class TracedAccess:
    """One access.

    :param time_ns: when, by CLOCK_MONOTONIC.
    :param device: its name.
    :param value: that was written, or read.
    :param result: what the program returned: 0 answered, -95 declined.
    :param ns: that it took.
    :param thread: the vCPU's thread.
    :param vcpu: the vCPU, where the thread's name tells; else None.
    """

    time_ns: int
    vm: str
    device: str
    region: int
    write: bool
    offset: int
    len: int
    value: int
    result: int
    ns: int
    thread: int
    vcpu: int | None


class Tracer(Closing):
    """Records a device's accesses while it is open.

    :param vm: the VM's name; None where the device's is unique.
    :param pid: of its VMM, where VMs of one name have the device; None for any.
    :raise StateError: when the device is not attached, or its id is not known.
    :raise UnsupportedError: when there is no tracefs, or no such tracepoint.
    :raise KernelCallError: when tracefs is not permitted.
    """

    def __init__(
        self, store: Store, device: str, *, vm: str | None = None, pid: int | None = None
    ) -> None:
        record = find_device(store, device, vm, pid).record
        self._store = store
        self.vm, self.device, self._pid = record.vm, record.device, record.pid
        self._home = record.home
        tracefs = find_tracefs()
        remove_abandoned(tracefs)
        self.lost = 0
        self._vcpus: dict[int, int | None] = {}
        self._waiting: list[TracedAccess] = []
        self._instance = TraceInstance(tracefs, EVENT)
        try:
            self._layout = EventLayout(self._instance.format, FIELDS)
            self._instance.start(f"device == {record.device_id}")
        except BaseException:
            self._instance.close()
            raise

    def read(self) -> list[TracedAccess]:
        """Return what came since the last call, in order; never waits.

        Each CPU has a buffer of its own. What is newer than the beginning of this
        call waits for the next one: a CPU that was read first may have older ones.

        :raise StateError: when this is closed.
        """
        began_ns = time.monotonic_ns()
        for page in self._instance.read():
            self.lost += page.lost if page.lost >= 0 else 1
            for event in page.events:
                fields = self._layout.decode(event.data)
                if fields is not None:
                    self._waiting.append(self._access(event.time_ns, fields))
        self._waiting.sort(key=lambda access: access.time_ns)
        ready = [access for access in self._waiting if access.time_ns < began_ns]
        del self._waiting[: len(ready)]
        return ready

    def is_attached(self) -> bool:
        """Tell whether the device is still attached."""
        try:
            return status(self._store, self._home, self.device).attached
        except (StateError, BadFileError):
            return False

    def follow(self, duration_s: float | None = None) -> Iterator[TracedAccess]:
        """Give accesses as they come, until a time is over or the device has gone.

        :param duration_s: in seconds; None for as long as it is attached.
        """
        end_s = None if duration_s is None else time.monotonic() + duration_s
        while True:
            attached = self.is_attached()
            over = end_s is not None and time.monotonic() >= end_s
            if over or not attached:
                self._instance.stop()
            yield from self.read()
            if over or not attached:
                break
            left_s = _POLL_S if end_s is None else min(_POLL_S, end_s - time.monotonic())
            time.sleep(max(left_s, 0))
        yield from self.read()  # what the last one kept back

    def close(self) -> None:
        """Stop, and remove the instance; twice is fine."""
        self._instance.close()

    def _access(self, time_ns: int, fields: dict[str, int]) -> TracedAccess:
        thread = fields["common_pid"]
        return TracedAccess(
            time_ns=time_ns,
            vm=self.vm,
            device=self.device,
            region=fields["region"],
            write=bool(fields["write"]),
            offset=fields["offset"],
            len=fields["len"],
            value=fields["value"],
            result=fields["result"],
            ns=fields["ns"],
            thread=thread,
            vcpu=self._vcpu(thread),
        )

    def _vcpu(self, thread: int) -> int | None:
        if thread not in self._vcpus:
            try:
                name = Path(f"/proc/{self._pid}/task/{thread}/comm").read_text()
            except OSError:
                name = ""
            match = _VCPU_THREAD.match(name)
            self._vcpus[thread] = int(match[1]) if match else None
        return self._vcpus[thread]


_POLL_S = 0.1
