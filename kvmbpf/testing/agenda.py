# SPDX-License-Identifier: GPL-2.0-or-later
"""Time, and what a device has put off: timers and works, run by hand.

Nothing runs by itself, so that a test sees the state in between. A work is soon:
it runs before time passes. A timer runs when its time has come, at that time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kvmbpf.errors import StateError

_MOST_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Deferred:
    """A timer or work.

    :param name: as in ``KVMBPF_TIMER(name)``.
    :param body: the address of its function.
    :param work: a work: it may sleep.
    """

    name: str
    body: int
    work: bool


class Agenda:
    """What is put off.

    :param now_ns: the time to begin with (C ``__u64``).
    :param run: runs a body.
    """

    def __init__(self, now_ns: int, run: Callable[[Deferred], None]) -> None:
        self.now_ns = now_ns
        self._run = run
        self._timers: dict[int, tuple[int, int, Deferred]] = {}
        self._works: dict[int, Deferred] = {}
        self._order = 0

    def start_timer(self, key: int, timer: Deferred, delay_ns: int) -> None:
        """Start a timer; one that is started already starts anew.

        :param key: what tells it from others.
        """
        self._order += 1
        self._timers[key] = (self.now_ns + delay_ns, self._order, timer)

    def cancel_timer(self, key: int) -> bool:
        """Cancel a timer; tell whether it was started."""
        return self._timers.pop(key, None) is not None

    def start_work(self, key: int, work: Deferred) -> None:
        """Start a work; one that has not run since is started already."""
        self._works.setdefault(key, work)

    def timers(self) -> dict[str, int]:
        """Return in how many ns each started timer expires, the next one first."""
        entries = sorted(self._timers.values(), key=lambda entry: entry[:2])
        return {timer.name: at - self.now_ns for at, _, timer in entries}

    def works(self) -> list[str]:
        """Return the works that are started."""
        return [work.name for work in self._works.values()]

    def run_works(self) -> int:
        """Run the works, and those that they start; return how many ran."""
        count = 0
        while self._works:
            key = next(iter(self._works))
            work = self._works.pop(key)
            count = self._counted(count, work)
            self._run(work)
        return count

    def advance(self, ns: int) -> int:
        """Let time pass; return how many works and timers ran.

        :param ns: how much, 0 or more.
        """
        if ns < 0:
            raise StateError(f"time does not go back: advance({ns})")
        end = self.now_ns + ns
        total = count = self.run_works()
        while due := [entry for entry in self._timers.items() if entry[1][0] <= end]:
            key, (at, _, timer) = min(due, key=lambda entry: entry[1][:2])
            del self._timers[key]
            if at > self.now_ns:
                self.now_ns, count = at, 0
            count = self._counted(count, timer)
            self._run(timer)
            works = self.run_works()
            total, count = total + 1 + works, count + works
        self.now_ns = end
        return total

    def _counted(self, count: int, item: Deferred) -> int:
        if count >= _MOST_AT_ONCE:
            kind = "work" if item.work else "timer"
            raise StateError(
                f"{kind} {item.name}: {_MOST_AT_ONCE} bodies ran and no time passed: "
                "does it start itself at once?"
            )
        return count + 1
