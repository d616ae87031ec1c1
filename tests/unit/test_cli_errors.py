# SPDX-License-Identifier: GPL-2.0-or-later
"""Wrong input to the command: one line that says what, and its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    own = {"KVMBPF_RUN_DIR": str(tmp_path / "run"), "KVMBPF_BPFFS": str(tmp_path / "bpf")}
    return subprocess.run(
        [sys.executable, "-m", "kvmbpf", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | own,
        stdin=subprocess.DEVNULL,
    )


OBJECT = "@object"
SELF = str(os.getpid())
TABLE: list[tuple[str, list[str], int, str]] = [
    ("no object", ["attach", "absent.o", "--pid", "1"], 15, "absent.o: "),
    ("a directory", ["attach", "/", "--pid", "1"], 15, "/: "),
    ("not an ELF", ["attach", __file__, "--pid", "1"], 15, "not an ELF"),
    ("no VM named", ["attach", OBJECT], 2, "by one of --pid, --qmp and --vm"),
    (
        "two VMs named",
        ["attach", OBJECT, "--pid", "1", "--qmp", "x"],
        2,
        "by one of --pid, --qmp and --vm",
    ),
    ("pid 0", ["attach", OBJECT, "--pid", "0"], 2, "--pid"),
    ("pid of nobody", ["attach", OBJECT, "--pid", "4194304"], 10, "ESRCH"),
    ("no VM there", ["attach", OBJECT, "--pid", SELF], 13, "no KVM virtual machine"),
    ("unknown machine", ["attach", OBJECT, "--pid", "1", "--machine", "toaster"], 17, "toaster"),
    ("not a number", ["attach", OBJECT, "--pid", "1", "--gpa", "high"], 2, "not a number"),
    ("negative", ["attach", OBJECT, "--pid", "1", "--gpa=-1"], 2, "negative"),
    ("misaligned", ["attach", OBJECT, "--pid", "1", "--gpa", "0x10"], 17, "0x10"),
    ("beyond", ["attach", OBJECT, "--pid", "1", "--gpa", "0x10000000000000"], 17, "range"),
    ("too many places", ["attach", OBJECT, "--pid", "1", "--gpa", "0", "--gpa", "0"], 17, "2"),
    ("too many irqs", ["attach", OBJECT, "--pid", "1", "--gsi", "5", "--gsi", "6"], 17, "2"),
    ("a path for a name", ["attach", OBJECT, "--pid", "1", "--vm", "../x"], 13, "VM name"),
    ("no socket", ["attach", OBJECT, "--qmp", "absent.sock"], 16, "absent.sock"),
    ("nothing to update", ["update", OBJECT], 13, "no device demo is attached"),
    ("nothing to detach", ["detach", "demo"], 13, "no device demo is attached"),
    ("no such VM", ["detach", "demo", "--vm", "absent"], 13, "VM absent"),
    ("nothing to run", ["run", "--device", OBJECT], 2, "COMMAND"),
    ("no device", ["run", "--", "true"], 2, "--device"),
    ("no such QEMU", ["run", "--device", OBJECT, "--", "absent-qemu", "-M", "q35"], 16, "absent"),
    ("not QEMU", ["run", "--device", OBJECT, "--", "false", "-M", "q35"], 16, "false"),
    (
        "no irqs on microvm",
        ["run", "--device", OBJECT, "--", "true", "-M", "microvm"],
        17,
        "use q35",
    ),
    ("unknown command", ["frobnicate"], 2, "frobnicate"),
    ("unknown option", ["list", "--frobnicate"], 2, "frobnicate"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [row[1:] for row in TABLE],
    ids=[row[0] for row in TABLE],
)
def test_wrong_input(
    tmp_path: Path, demo_v1: Path, arguments: list[str], code: int, sentence: str
) -> None:
    done = run(tmp_path, *(str(demo_v1) if item == OBJECT else item for item in arguments))
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert sentence in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 or code == 2, "one line, but for the usage that click adds"


def test_nothing_attached_is_said(tmp_path: Path) -> None:
    done = run(tmp_path, "list")
    assert (done.returncode, done.stdout) == (0, "no devices attached\n")
    done = run(tmp_path, "list", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"schema": 1, "devices": []})


def test_help_lists_every_command(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    for name in ("inspect", "check", "run", "attach", "update", "detach", "list", "bench", "lab"):
        assert name in done.stdout
        assert run(tmp_path, name, "--help").returncode == 0
