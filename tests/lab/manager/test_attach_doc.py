# SPDX-License-Identifier: GPL-2.0-or-later
"""README.md and docs/attach.md: a QEMU started by hand; each command says what they show."""

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
from tests.places import ROOT

# Made before: the lab's host has the compiler, but compiling is slow there.
BUILD = "kvmbpf build "
# What is not the same everywhere.
VARIES = re.compile(r"pid \d+|QEMU \d+\.\d+\.\d+|pc-q35-\d+\.\d+")


def steps(document: Path) -> list[tuple[str, list[str]]]:
    """Return a document's commands, each with the lines that it shows below."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```$", document.read_text(), re.M | re.S):
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


@pytest.mark.parametrize(("name", "least"), [("README.md", 4), ("docs/attach.md", 8)])
def test_the_document_is_true(tmp_path: Path, kvmbpf: Commands, name: str, least: int) -> None:
    commands_shown = steps(ROOT / name)
    assert len(commands_shown) >= least
    folder = tmp_path / "here"
    folder.mkdir()
    shutil.copy(given_parts(os.environ.get(PARTS_VARIABLE)).v1, folder)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = kvmbpf.environment | {"PATH": path}
    background: list[subprocess.Popen[bytes]] = []
    try:
        for command, shown in commands_shown:
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
