# SPDX-License-Identifier: GPL-2.0-or-later
"""The outside tools that a build runs, and how they end when the build is killed.

Each is started so that it gets SIGTERM when its parent dies, which make hands
on to all that it started; and it holds the build's lock for as long as it lives.
So a build that was killed is never still at work in a folder that the next one
has begun to clear.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from kvmbpf.errors import LabError, UnsupportedError

# tool -> the Debian package that has it
TOOLS = {
    "bc": "bc",
    "bison": "bison",
    "cp": "coreutils",
    "flex": "flex",
    "gcc": "gcc",
    "git": "git",
    "make": "make",
    "pahole": "dwarves",
    "perl": "perl",
    "setpriv": "util-linux",
    "tar": "tar",
    "xargs": "findutils",
    "xz": "xz-utils",
}

NO_SPACE = "No space left on device"
_DIES_WITH_PARENT = ("setpriv", "--pdeathsig", "TERM")


def check_tools(tools: Mapping[str, str] = TOOLS, purpose: str = "a kernel") -> None:
    """Check that tools are installed.

    :param tools: tool -> the Debian package that has it.
    :param purpose: what is to be built with them.
    :raise UnsupportedError: when one is not; names it and its package.
    """
    for tool, package in tools.items():
        if shutil.which(tool) is None:
            raise UnsupportedError(
                tool,
                found="nothing on PATH",
                needed=f"it to build {purpose}",
                mend=f"apt-get install {package}",
            )


def tied(command: Sequence[str]) -> list[str]:
    """Return the command that ends when the process that starts it does."""
    return [*_DIES_WITH_PARENT, *command]


def run_tool(
    command: Sequence[str],
    *,
    lock: int,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    text_in: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a tool to its end; its exit status is the caller's to judge.

    :param lock: descriptor (C ``int``) of the build's lock, which the tool holds too.
    :param text_in: what it gets on standard input; nothing by default.
    """
    return subprocess.run(
        tied(command),
        input=text_in if text_in is not None else "",
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
        cwd=cwd,
        env=env,
        pass_fds=(lock,),
    )


def first_line(text: str) -> str:
    """Return the line of a tool's errors that says why it failed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    full = [line for line in lines if NO_SPACE in line]
    said = (full or lines or ["no reason given"])[0]
    return said.removeprefix("error: ")


def tool_error(what: str, said: str, folder: Path) -> LabError:
    """Return the error for a tool that failed: a full disk is named with its mend.

    :param what: what failed, as in ``kernel build (make bzImage) failed``.
    :param said: the tool's line about it.
    :param folder: where it wrote.
    """
    return LabError(
        f"{what}: {said}; {disk_mend(folder)}" if NO_SPACE in said else f"{what}: {said}"
    )


def disk_mend(folder: Path) -> str:
    """Return what to do when the disk of a folder is full."""
    return (
        f"make room on the disk of {folder} (`kvmbpf lab clean` removes old kernels), "
        "or set KVMBPF_CACHE to a folder that has it"
    )
