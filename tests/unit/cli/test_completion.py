# SPDX-License-Identifier: GPL-2.0-or-later
"""Completion: what a shell is told, and that no privileged layer is loaded for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kvmbpf.cli import COMMANDS
from kvmbpf.cli.completion import ARGUMENTS, PLAIN
from tests.unit.test_layers import PRIVILEGED

KVMBPF = Path(sys.executable).with_name("kvmbpf")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with an object, a source and more, and pins in pins/."""
    for name in ("a.bpf.o", "b.bpf.o", "a.bpf.c", "notes.txt", "sub/c.bpf.o"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in ("vm1/demo", "vm1/uart", "vm2/demo"):
        (tmp_path / "pins" / "kvmbpf" / name).mkdir(parents=True)
    return tmp_path


def complete(folder: Path, line: str) -> list[str]:
    """Return what bash is told for a line, its last word being completed."""
    environment = os.environ | {
        "_KVMBPF_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
        "KVMBPF_BPFFS": str(folder / "pins"),
    }
    done = subprocess.run(
        [str(KVMBPF)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_commands(folder: Path) -> None:
    assert complete(folder, "kvmbpf ") == [f"plain,{name}" for name in COMMANDS]
    assert complete(folder, "kvmbpf in")[0] == "plain,inspect"
    assert "plain,--version" in complete(folder, "kvmbpf --")


@pytest.mark.parametrize("command", ["inspect", "attach", "update"])
def test_objects(folder: Path, command: str) -> None:
    assert complete(folder, f"kvmbpf {command} ") == ["dir,", "plain,a.bpf.o", "plain,b.bpf.o"]
    assert complete(folder, f"kvmbpf {command} b") == ["dir,b", "plain,b.bpf.o"]
    assert complete(folder, f"kvmbpf {command} sub/") == ["dir,sub/", "plain,sub/c.bpf.o"]
    assert complete(folder, f"kvmbpf {command} none/") == ["dir,none/"]


def test_objects_after_an_option(folder: Path) -> None:
    assert complete(folder, "kvmbpf attach --pid 5 a") == ["dir,a", "plain,a.bpf.o"]
    assert complete(folder, "kvmbpf run --device a") == ["dir,a", "plain,a.bpf.o"]
    assert complete(folder, "kvmbpf attach a.bpf.o --vm vm") == ["plain,vm1", "plain,vm2"]


def test_sources(folder: Path) -> None:
    assert complete(folder, "kvmbpf build ") == ["dir,", "plain,a.bpf.c"]


def test_devices(folder: Path) -> None:
    assert complete(folder, "kvmbpf detach ") == ["plain,demo", "plain,uart"]
    assert complete(folder, "kvmbpf detach u") == ["plain,uart"]
    (folder / "pins" / "kvmbpf").rename(folder / "gone")
    assert complete(folder, "kvmbpf detach ") == []


def test_options_are_those_of_the_command(folder: Path) -> None:
    assert "plain,--pid" in complete(folder, "kvmbpf attach --")
    assert "plain,--json" in complete(folder, "kvmbpf list --")
    assert "plain,--werror" in complete(folder, "kvmbpf build --w")


def test_every_command_says_what_its_arguments_are() -> None:
    assert set(COMMANDS) <= set(ARGUMENTS) | PLAIN
    assert not set(ARGUMENTS) & PLAIN


@pytest.mark.parametrize("line", ["kvmbpf ", "kvmbpf attach a", "kvmbpf detach ", "kvmbpf run "])
def test_files_and_names_load_nothing_privileged(folder: Path, line: str) -> None:
    code = (
        "import sys, atexit\n"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
        "from kvmbpf.cli import main\nmain()"
    )
    environment = os.environ | {
        "_KVMBPF_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    loaded = set(done.stderr.split())
    assert "kvmbpf.cli" in loaded
    assert not loaded & {*PRIVILEGED, "kvmbpf.manager"}


def test_bash_completes_with_the_script(folder: Path) -> None:
    script = (
        'eval "$(kvmbpf completion bash)"; complete -p kvmbpf\n'
        "COMP_WORDS=(kvmbpf inspect b); COMP_CWORD=2\n"
        '_kvmbpf_completion kvmbpf 2>/dev/null; echo "${COMPREPLY[@]}"'
    )
    environment = os.environ | {"PATH": f"{KVMBPF.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "complete -o nosort -F _kvmbpf_completion kvmbpf",
        "b.bpf.o",
    ]


def test_zsh_gets_a_script_of_its_own() -> None:
    done = subprocess.run(
        [str(KVMBPF), "completion", "zsh"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("#compdef kvmbpf")
    assert "_KVMBPF_COMPLETE=zsh_complete kvmbpf" in done.stdout


def test_another_shell_is_a_wrong_command_line() -> None:
    done = subprocess.run(
        [str(KVMBPF), "completion", "csh"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "'csh' is not one of 'bash', 'zsh'" in done.stderr
