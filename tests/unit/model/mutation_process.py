# SPDX-License-Identifier: GPL-2.0-or-later
"""Speak with the process that reads damaged objects under limits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.places import ROOT


class WorkerProcess:
    """The process that reads mutants (mutation_worker.py).

    :param objects: the sound objects that it damages.
    """

    def __init__(self, objects: list[Path]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.model.mutation_worker", *map(str, objects)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def batch(self, kind: str, seed: int, count: int) -> dict[str, Any]:
        """Return what became of a batch."""
        return self.ask({"kind": kind, "seed": seed, "count": count})

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a line."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the worker died of {question}; status {self._process.wait()}"
        found: dict[str, Any] = json.loads(answer)
        return found

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait() == 0
