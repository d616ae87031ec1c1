# SPDX-License-Identifier: GPL-2.0-or-later
"""Read what the kernel's selftests print: TAP, as kselftest.h and its harness write it.

A program that printed no failure has not passed yet: it may have printed fewer
results than it planned, have died after the last one, or have skipped what it was
meant to test. `Program.problems` is empty only when none of that happened.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PLAN = re.compile(r"^1\.\.(\d+)(?:\s+#\s*(SKIP)\b\s*(.*))?", re.IGNORECASE)
_RESULT = re.compile(r"^(not )?ok\b\s*\d*\s*(?:-\s*)?(.*)$")
_DIRECTIVE = re.compile(r"#\s*(SKIP|XFAIL|TODO)\b\s*(.*)$", re.IGNORECASE)
_BAIL_OUT = re.compile(r"^Bail out!\s*(.*)$")
# What kselftest_harness.h says of an expectation, as "# x86_64/a_test.c:12:case:Expected ...".
_WHY = re.compile(r"^#\s*(\S+\.c:\d+:.*)$")

# Exit statuses: of timeout(1), of a program that timeout had to kill, of kselftest.h's KSFT_SKIP.
_TIMED_OUT, _KILLED, _SKIPPED = 124, 137, 4
_LAST_SIGNAL = 64


@dataclass(frozen=True)
class Case:
    """One result line.

    :param name: what it is about.
    :param passed: whether it said ``ok``.
    :param directive: ``skip: REASON`` and the like, when the line has one.
    :param said: what the harness said of its expectations before the result.
    """

    name: str
    passed: bool
    directive: str = ""
    said: tuple[str, ...] = ()


@dataclass(frozen=True)
class Program:
    """One test program's run.

    :param name: of the program.
    :param status: its exit status; None when the lab ended before it did.
    :param output: what it wrote to standard output.
    :param errors: what it wrote to standard error.
    :param took_s: how long it ran, in seconds.
    """

    name: str
    status: int | None
    output: str
    errors: str = ""
    took_s: float = 0.0

    @property
    def cases(self) -> list[Case]:
        """The results that it printed."""
        return read_cases(self.output)

    @property
    def problems(self) -> list[str]:
        """Why it has not passed; empty when it has."""
        cases = self.cases
        found = ["; ".join((f"not ok: {one.name}", *one.said)) for one in cases if not one.passed]
        found += [f"{case.directive}: {case.name}" for case in cases if case.directive]
        found += _bad_plan(self.output, len(cases))
        found += [
            f"bailed out: {match[1]}"
            for match in map(_BAIL_OUT.match, self.output.splitlines())
            if match
        ]
        end = self._bad_end()
        # A failure that was printed explains the exit status that follows from it.
        return [*found, end] if end and (not found or self.status != 1) else found

    def _bad_end(self) -> str:
        if self.status is None:
            return "did not end: the lab went down"
        if self.status in (_TIMED_OUT, _KILLED):
            return f"hung: it was ended after {self.took_s:.0f} s"
        if self.status == _SKIPPED:
            return "skipped as a whole"
        if 128 < self.status <= 128 + _LAST_SIGNAL:
            return f"died of signal {self.status - 128}"
        return f"exit status {self.status}" if self.status else ""


def read_cases(output: str) -> list[Case]:
    """Return the results in a program's output, in their order."""
    cases = []
    why: list[str] = []
    for line in output.splitlines():
        match = _RESULT.match(line)
        if match is None:
            why += [said[1] for said in [_WHY.match(line)] if said]
            continue
        directive = _DIRECTIVE.search(match[2])
        name = match[2][: directive.start()] if directive else match[2]
        said = f"{directive[1].lower()} {directive[2]}".strip() if directive else ""
        cases.append(Case(name.strip() or "(no name)", match[1] is None, said, tuple(why)))
        why = []
    return cases


def _bad_plan(output: str, there: int) -> list[str]:
    plans = [match for match in map(_PLAN.match, output.splitlines()) if match]
    if len(plans) != 1:
        return [f"printed {len(plans)} plans, not one"]
    planned = int(plans[0][1])
    if plans[0][2]:
        return [f"skipped as a whole: {plans[0][3]}"]
    if planned == 0:
        return ["planned nothing"]
    return [] if planned == there else [f"planned {planned} results, printed {there}"]
