# SPDX-License-Identifier: GPL-2.0-or-later
"""Run tests inside the lab and report them as if they ran here.

The host's pytest collects the tests in tests/lab like any others. It boots the lab
once for all tests of a kernel (tests/lab/labs.py), with an inner pytest over them; that
one writes each report as a line of JSON to a folder both sides see, and the host
re-emits it when its turn comes: each test counts by itself in the closing line,
and a failure shows whole. When the lab dies or falls silent, the tests that
have no report fail with what its console showed last.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from kvmbpf.demo.parts import PARTS_VARIABLE, make_parts
from kvmbpf.errors import KvmBpfError, LabError
from kvmbpf.lab import LabRun, ensure_kernel
from tests.lab.debian import debian_environment
from tests.lab.fuzzers import FUZZER_TESTS, compile_fuzzers
from tests.lab.line_guest import LINE_TESTS, assemble_guests
from tests.lab.objects import (
    HEADER_TESTS,
    OBJECTS_VARIABLE,
    compile_examples,
    compile_objects,
)
from tests.lab.stream import STREAM_TESTS, compile_vmm

# Set inside the lab: the file that takes the reports.
REPORTS_VARIABLE = "KVMBPF_LAB_REPORTS"
# The longest silence between two reports, in seconds; the first one waits for the boot.
SILENCE_S = float(os.environ.get("KVMBPF_LAB_SILENCE_S", "600"))
# The debug kernel is that much slower than the plain one, and then some.
DEBUG_FACTOR = 4
_POLL_S = 0.1


class ReportReader:
    """Follow a file of JSON lines that another system writes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> list[dict[str, Any]]:
        """Return the reports that became complete since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


class LabSession:
    """The one boot of a kernel that runs the selected tests.

    :param config: the host's pytest.
    :param items: the tests to run inside.
    :param debug: whether they run on the debug kernel.
    """

    def __init__(self, config: pytest.Config, items: Sequence[pytest.Item], debug: bool) -> None:
        self._config = config
        self._silence_s = SILENCE_S * (DEBUG_FACTOR if debug else 1)
        self._waiting: dict[str, list[pytest.TestReport]] = defaultdict(list)
        self._folder = tempfile.TemporaryDirectory(prefix=".lab-", dir=config.rootpath / "tests")
        place = Path(self._folder.name)
        self._reader = ReportReader(place / "reports")
        self._output = (place / "output").open("w+b")
        self._silent_since = time.monotonic()
        (place / "tests").write_text("".join(f"{item.nodeid}\n" for item in items))
        kernel = ensure_kernel(debug=debug)
        parts = make_parts(kernel)
        compile_objects(place)
        if any(item.path.name == LINE_TESTS for item in items):
            assemble_guests(place)
        if any(item.path.name == HEADER_TESTS for item in items):
            compile_examples(place)
        if any(item.path.name in FUZZER_TESTS for item in items):
            compile_fuzzers(kernel.build_tree, place)
        if any(item.path.name == STREAM_TESTS for item in items):
            compile_vmm(place)
        self._run = LabRun(
            kernel,
            self._command(place),
            rw=config.rootpath,
            cwd=config.rootpath,
            stdout=self._output.fileno(),
            stderr=self._output.fileno(),
            environment={
                REPORTS_VARIABLE: str(place / "reports"),
                OBJECTS_VARIABLE: str(place),
                PARTS_VARIABLE: str(parts.folder),
                **debian_environment(items),
            },
        )
        self._run.start()
        self._silent_since = time.monotonic()

    def reports(self, nodeid: str) -> list[pytest.TestReport]:
        """Wait for a test's reports, up to the one of its teardown.

        :raise LabError: when the lab ended or fell silent before that.
        """
        while not any(report.when == "teardown" for report in self._waiting[nodeid]):
            ended = not self._run.running()
            if self._take():
                self._silent_since = time.monotonic()
            elif ended:
                raise LabError(f"the lab ended without a report of this test\n{self._tails()}")
            elif time.monotonic() - self._silent_since > self._silence_s:
                raise LabError(f"the lab is silent for {self._silence_s:g} s\n{self._tails()}")
            else:
                time.sleep(_POLL_S)
        return self._waiting.pop(nodeid)

    def close(self) -> None:
        """End the lab, and remove what it left."""
        self._run.close()
        self._output.close()
        self._folder.cleanup()

    def _take(self) -> bool:
        hook = self._config.hook
        lines = self._reader.read()
        for data in lines:
            report = hook.pytest_report_from_serializable(config=self._config, data=data)
            self._waiting[report.nodeid].append(report)
        return bool(lines)

    def _tails(self) -> str:
        self._output.flush()
        text = Path(self._output.name).read_text(encoding="utf-8", errors="replace")
        output = "\n".join(text.splitlines()[-40:])
        return (
            f"-- what pytest said in the lab:\n{output}\n-- console:\n{self._run.console_tail(60)}"
        )

    def _command(self, place: Path) -> list[str]:
        option = self._config.option
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
        command += ["-q", "--no-header", f"--tb={option.tbstyle}", "--basetemp=/run/pytest"]
        command += ["-c", str(self._config.inipath)] if self._config.inipath else []
        command += [f"--rootdir={self._config.rootpath}", f"--maxfail={option.maxfail or 0}"]
        command += ["-v"] * (option.verbose + 1) if option.verbose > 0 else []
        return [*command, f"@{place / 'tests'}"]


def failed_report(item: pytest.Item, error: KvmBpfError) -> list[pytest.TestReport]:
    """Return the reports of a test that could not be run."""
    when: Mapping[str, Any] = {"nodeid": item.nodeid, "location": item.location, "keywords": {}}
    text = str(error)
    return [
        pytest.TestReport(**when, outcome="failed", longrepr=text, when="setup"),
        pytest.TestReport(**when, outcome="passed", longrepr=None, when="teardown"),
    ]


def write_report(config: pytest.Config, report: pytest.TestReport, path: Path) -> None:
    """Inside the lab: append a report to the file that the host follows."""
    data = config.hook.pytest_report_to_serializable(config=config, report=report)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(data) + "\n")
