# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/attach.md: each command is run in the lab, and says what the document shows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmbpf.demo.parts import PARTS_VARIABLE, given_parts
from tests.lab.commands import Commands, commands
from tests.lab.pace import PACE

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "attach.md"
# Made before: the lab's host has the compiler, but compiling is slow there.
BUILD = "kvmbpf build "
# What is not the same everywhere.
VARIES = re.compile(r"pid \d+|QEMU \d+\.\d+\.\d+|pc-q35-\d+\.\d+")


def steps() -> list[tuple[str, list[str]]]:
    """Return the document's commands, each with the lines that it shows below."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```$", DOCUMENT.read_text(), re.M | re.S):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


@pytest.fixture
def kvmbpf(tmp_path: Path) -> Iterator[Commands]:
    with commands(tmp_path) as found:
        yield found


def test_the_document_is_true(tmp_path: Path, kvmbpf: Commands) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    shutil.copy(given_parts(os.environ.get(PARTS_VARIABLE)).v1, folder)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = kvmbpf.environment | {"PATH": path}
    background: list[subprocess.Popen[bytes]] = []
    assert len(steps()) >= 8
    try:
        for command, shown in steps():
            if command.startswith(BUILD):
                continue
            if command.endswith(" &"):
                words = command.removesuffix(" &").split()
                background.append(subprocess.Popen(words, cwd=folder, env=environment))
                _await_vm(background[-1].pid)
                continue
            done = subprocess.run(
                command.split(),
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            said = [VARIES.sub("...", line) for line in done.stdout.splitlines()]
            assert said == [VARIES.sub("...", line) for line in shown], command
    finally:
        for process in background:
            process.kill()
            process.wait()


def _await_vm(pid: int) -> None:
    """Wait until a QEMU has a vCPU: its sockets and interrupt controllers come before."""
    deadline = time.monotonic() + 60 * PACE
    while not any("kvm-vcpu" in _target(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _target(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except FileNotFoundError:
        return ""
