# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmbpf.cli.streaming: however a command is stopped, it tidies up and says no more."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

BODY = """
import sys, time
from pathlib import Path
from kvmbpf.cli.streaming import run_until_stopped

def body():
    try:
        while True:
            print("line", flush=True)
            time.sleep(0.01)
    finally:
        time.sleep(0.2)
        Path(sys.argv[1]).write_text("tidy")

sys.exit(run_until_stopped(body))
"""


def start(tidy: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BODY, str(tidy)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
@pytest.mark.parametrize("times", [1, 2])
def test_a_signal_ends_it_in_order(
    tmp_path: Path, number: signal.Signals, status: int, times: int
) -> None:
    with start(tmp_path / "tidy") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "line\n"
        for _ in range(times):
            process.send_signal(number)
        _, said = process.communicate()
    assert process.returncode == status
    assert said == ""
    assert (tmp_path / "tidy").read_text() == "tidy"


def test_a_reader_that_goes_ends_it_in_order(tmp_path: Path) -> None:
    with start(tmp_path / "tidy") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "line\n"
        process.stdout.close()
        said = process.stderr.read()
        process.wait()
    assert process.returncode == 128 + signal.SIGPIPE
    assert said == ""
    assert (tmp_path / "tidy").read_text() == "tidy"
