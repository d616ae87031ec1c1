# SPDX-License-Identifier: GPL-2.0-or-later
"""Selftests run inside, reported outside: the script, and what is read of its output.

The script runs each program by itself, within a bounded time, and writes lines of its
own around what the program says. It needs a POSIX shell, timeout and cat.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kvmbpf.lab.tap import Program

_BEGIN, _END = "@kvmbpf-selftest-begin", "@kvmbpf-selftest-end"
_ERRORS = "@kvmbpf-selftest-errors"

_SCRIPT = """
for test in {programs}; do
	name=${{test##*/}}
	echo "{begin} $name"
	echo "selftest $name" >/dev/kmsg
	read -r since rest </proc/uptime
	timeout -k 5 {seconds} "$test" 2>/run/kvmbpf.selftest
	status=$?
	read -r now rest </proc/uptime
	echo
	echo "{errors}"
	cat /run/kvmbpf.selftest
	echo
	echo "{end} $status $since $now"
done
"""


@dataclass(frozen=True)
class Report:
    """What a run of the selftests gave.

    :param programs: each program's run, in the order in which they ran.
    :param complaints: lines of the kernel's log that report a bug or a warning.
    """

    programs: tuple[Program, ...]
    complaints: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether there were programs, all passed, and the kernel had nothing to say."""
        clean = not any(program.problems for program in self.programs)
        return bool(self.programs) and clean and not self.complaints


def tests_script(programs: Sequence[str], timeout_s: float) -> str:
    """Return the script that runs programs one after the other.

    :param programs: their paths, as the script sees them.
    :param timeout_s: the longest that each may run, in the script's own seconds.
    """
    return _SCRIPT.format(
        programs=shlex.join(programs),
        seconds=f"{timeout_s:g}",
        **{"begin": _BEGIN, "errors": _ERRORS, "end": _END},
    )


def read_report(text: str) -> Iterator[Program]:
    """Yield the runs that the lab's output tells of."""
    for part in text.split(f"{_BEGIN} ")[1:]:
        name, _, rest = part.partition("\n")
        said, ended, end = rest.rpartition(f"{_END} ")
        if not ended:
            yield Program(name.strip(), None, rest)
            continue
        output, _, errors = said.partition(f"{_ERRORS}\n")
        status, since, now = end.split()[:3]
        took_s = float(now) - float(since)
        yield Program(name.strip(), int(status), output, errors.strip(), took_s)
