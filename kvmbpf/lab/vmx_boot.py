# SPDX-License-Identifier: GPL-2.0-or-later
"""One boot of the guest under Bochs, watched from the outside: where it is, what came."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from kvmbpf.errors import LabError
from kvmbpf.lab.bochs_run import BochsRun
from kvmbpf.lab.klog import last_lines
from kvmbpf.lab.report import read_report
from kvmbpf.lab.tap import Program
from kvmbpf.lab.vmx_image import END, KERNEL_LOG, MACHINE, TESTS
from kvmbpf.lab.vmx_log import vmx_complaints
from kvmbpf.lab.vmx_machine import Machine, read_machine

_TAIL_LINES = 20
_POWERED_OFF = "Power down"


@dataclass(frozen=True)
class Ended:
    """A program that has ended.

    :param program: what it said; its times are the guest's.
    :param took_s: how long it took here, in seconds.
    """

    program: Program
    took_s: float


class Boot:
    """One boot of the guest, watched.

    :param run: Bochs, not started.
    :param timeout_s: the longest that a program may run, in seconds.
    :param boot_timeout_s: the longest that the boot may take, in seconds.
    :param end_timeout_s: the longest that the end may take, in seconds.
    """

    def __init__(
        self, run: BochsRun, timeout_s: float, boot_timeout_s: float, end_timeout_s: float
    ) -> None:
        self.machine: Machine | None = None
        self.programs: list[Program] = []
        self.failure: LabError | None = None
        self.over = False
        self.doing = "waiting"
        self._run = run
        self._limits_s = {"boot": boot_timeout_s, "test": timeout_s, "end": end_timeout_s}
        self._since = 0.0
        self._phase = ""
        self._log = self._console = ""

    def start(self) -> None:
        """Start it."""
        self._run.start()
        self._enter("boot", "booting")

    def step(self) -> list[Ended]:
        """Look what has come; return the programs that have ended since.

        What ends the run is in `failure` then.

        :raise UnsupportedError: when Bochs has no display library.
        """
        goes_on = self._run.running()
        text = self._run.results()
        before, at_end, _ = text.partition(f"{END}\n")
        said, _, self._log = before.partition(f"{KERNEL_LOG}\n")
        self._read_machine(said)
        if self.failure is not None:
            return []
        ended = self._read_programs(said, at_end)
        if not goes_on:
            self._console = self._run.console()
            if not at_end or _POWERED_OFF not in self._console:
                self.failure = self._failed(
                    f"the guest went down {self._when()}", self._run.last_words()
                )
            self.over = True
        elif time.monotonic() - self._since > self._limits_s[self._phase]:
            self.failure = self._failed(
                f"{self._too_long()} within {self._limits_s[self._phase]:g} s"
            )
        return ended

    def complaints(self) -> list[str]:
        """Return the complaints of the log and the console of a boot that is over."""
        lines = vmx_complaints(self._log) + vmx_complaints(self._console)
        return list(dict.fromkeys(lines))

    def _read_machine(self, said: str) -> None:
        if self.machine is not None or f"{TESTS}\n" not in said:
            return
        facts = said.partition(f"{MACHINE}\n")[2].partition(f"{TESTS}\n")[0]
        machine = read_machine(facts)
        if machine.problems:
            self.failure = self._failed(f"the guest has no VMX: {', '.join(machine.problems)}")
            return
        self.machine = replace(machine, emulator=self._run.version())

    def _read_programs(self, said: str, at_end: str) -> list[Ended]:
        """Return the programs that have ended since, and tell what is run now."""
        runs = list(read_report(said.partition(f"{TESTS}\n")[2]))
        done = [one for one in runs if one.status is not None]
        new = done[len(self.programs) :]
        now = time.monotonic()
        # Programs that ended between two looks share the time.
        ended = [Ended(one, (now - self._since) / len(new)) for one in new]
        self.programs = done
        if at_end:
            self._enter("end", "powering off")
        elif len(runs) > len(done):
            current = runs[-1]
            self._enter("test", current.name, new=bool(new))
            self.doing = f"{current.name}, {len(current.cases)} results"
        elif done:
            self._enter("end", "ending", new=bool(new))
        return ended

    def _enter(self, phase: str, doing: str, *, new: bool = False) -> None:
        if new or phase != self._phase:
            self._phase = phase
            self._since = time.monotonic()
        self.doing = doing

    def _when(self) -> str:
        if self._phase == "boot":
            return "while it booted"
        return "at its end" if self._phase == "end" else f"in {self.doing}"

    def _too_long(self) -> str:
        if self._phase == "boot":
            return "the guest did not boot"
        return "the guest did not end" if self._phase == "end" else f"{self.doing}: it did not end"

    def _failed(self, what: str, words: str = "") -> LabError:
        console = self._run.console()
        if words:
            what = f"{what}; Bochs said: {words}"
        complaints = vmx_complaints(console)
        if complaints:
            what = f"{what}; its kernel said: {complaints[0].strip()}"
        return LabError(what, last_lines(console, _TAIL_LINES))
