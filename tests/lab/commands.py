# SPDX-License-Identifier: GPL-2.0-or-later
"""The kvmbpf command as its user runs it, with a store of the test's own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kvmbpf.manager import Store
from tests.lab.leaks import assert_nothing_leaked
from tests.lab.pace import PACE

# A command that runs longer does not end by itself.
_HANGS_S = 180 * PACE
KVMBPF = (sys.executable, "-m", "kvmbpf")


@dataclass(frozen=True)
class Commands:
    """The command, run in a process of its own.

    :param run_dir: where its records go.
    :param bpffs: where its pins go.
    """

    run_dir: Path
    bpffs: Path

    @property
    def environment(self) -> dict[str, str]:
        """What tells the command where its store is."""
        own = {"KVMBPF_RUN_DIR": str(self.run_dir), "KVMBPF_BPFFS": str(self.bpffs)}
        return os.environ | own

    def run(
        self, *arguments: str | Path, before: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end.

        :param before: a program that runs it, and its arguments, as ``setpriv ...``.
        """
        return subprocess.run(
            [*before, *KVMBPF, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env=self.environment,
            timeout=_HANGS_S,
        )

    def ok(self, *arguments: str | Path, before: Sequence[str] = ()) -> str:
        """Run it; it must succeed, and say nothing on standard error."""
        done = self.run(*arguments, before=before)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def refused(self, *arguments: str | Path, code: int, before: Sequence[str] = ()) -> str:
        """Run it; it must fail with one line. Return that, without its mark."""
        done = self.run(*arguments, before=before)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr.removeprefix("kvmbpf: ").removesuffix("\n")

    def start(self, *arguments: str | Path, log: Path) -> subprocess.Popen[bytes]:
        """Start it; what it says goes to a file."""
        with log.open("wb") as file:
            return subprocess.Popen(
                [*KVMBPF, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )

    def listed(self) -> list[dict[str, Any]]:
        """Return what `kvmbpf list --json` says."""
        found: list[dict[str, Any]] = json.loads(self.ok("list", "--json"))["devices"]
        return found


@contextlib.contextmanager
def commands(folder: Path) -> Iterator[Commands]:
    """Give the command a store; require in the end that nothing is left in it."""
    pins = Path("/sys/fs/bpf") / f"kvmbpf-test-{os.getpid()}"
    pins.mkdir()
    run_dir = folder / "run"
    try:
        yield Commands(run_dir, pins)
        Store(run_dir, pins).sweep_all()
        left = [*pins.rglob("*/*/*"), *(run_dir.rglob("*") if run_dir.exists() else ())]
        assert [str(path) for path in left] == []
    finally:
        for path in sorted(pins.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        pins.rmdir()
    assert_nothing_leaked()
