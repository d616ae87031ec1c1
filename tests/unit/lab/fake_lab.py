# SPDX-License-Identifier: GPL-2.0-or-later
"""A small world for the lab's command: a tiny source, a series, a make that obeys.

Run as a module it is ``kvmbpf`` with this world's series and source package in
place of the real ones. The tools on its PATH are links to this machine's, but
for make, which is a script, and those that a test has wait or takes away.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

from kvmbpf.lab import series, source
from kvmbpf.lab.tools import TOOLS
from tests.places import ROOT

SERIES_VARIABLE = "FAKE_SERIES"
PACKAGES_VARIABLE = "FAKE_PACKAGES"
PATCH = """--- a/dir/one.c
+++ b/dir/one.c
@@ -1,3 +1,3 @@
 first
-second
+{text}
 third
--- /dev/null
+++ b/dir/two.c
@@ -0,0 +1 @@
+new
"""
# What make and the waiting tools do before their work: say so, and wait if told to.
_WAIT = """#!/bin/sh
F={folder}
wait_if_told() {{
	echo "$1" >>$F/calls
	[ -e $F/wait-$1 ] || return 0
	echo $$ >$F/waiting.partial && mv $F/waiting.partial $F/waiting
	while [ -e $F/wait-$1 ]; do sleep 0.02; done
}}
"""
_MAKE = """shift
for target in "$@"; do
	wait_if_told $target
	if [ -e $F/fail-$target ]; then cat $F/fail-$target; exit 2; fi
	case $target in
	tinyconfig) echo CONFIG_TINY=y >.config ;;
	olddefconfig) [ ! -e $F/dropped ] || sed -i "/$(cat $F/dropped)/d" .config ;;
	bzImage)
		echo "  CC      dir/one.o"
		mkdir -p arch/x86/boot include/config
		cp dir/one.c arch/x86/boot/bzImage
		echo 0.0.1-fake >include/config/kernel.release
		;;
	esac
done
"""
_OTHERS = ("cat", "dpkg-query", "ld", "mkdir", "mv", "rm", "sed", "sh", "sleep")


class FakeLab:
    """The world, below one folder.

    :param folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tools = folder / "tools"
        self.series = folder / "series"
        self.packages = folder / "packages"
        self.cache = folder / "cache"
        self.started: list[subprocess.Popen[str]] = []
        for place in (self.tools, self.series, self.packages):
            place.mkdir()
        self._make_tools()
        self.write_series("patched")
        make_tree(folder / "linux-source-0.0")
        with tarfile.open(self.packages / "linux-source-0.0.tar.xz", "w:xz") as archive:
            archive.add(folder / "linux-source-0.0", "linux-source-0.0")

    def _make_tools(self) -> None:
        for tool in (*TOOLS, *_OTHERS):
            found = shutil.which(tool)
            assert found is not None, tool
            (self.tools / tool).symlink_to(found)
        self.write_tool("make", _MAKE)
        for tool in ("tar", "cp", "git", "xargs"):
            found = shutil.which(tool)
            # Reading a patch for its files' names is no phase of a build.
            skip = 'case "$*" in *--numstat*) exit ;; esac\n'
            self.write_tool(tool, f'{found} "$@" || exit\n{skip}wait_if_told {tool}\n')

    def write_tool(self, name: str, text: str) -> None:
        """Put a script in the place of a tool."""
        path = self.tools / name
        path.unlink(missing_ok=True)
        path.write_text(_WAIT.format(folder=self.folder) + text)
        path.chmod(0o755)

    def write_series(self, text: str) -> None:
        """Write a series whose patch makes the second line this text."""
        (self.series / "series.toml").write_text(
            'source = "linux-source-0.0"\npatches = ["0001-a.patch"]\n'
            'fragments = ["config.fragment"]\ndebug_fragments = ["debug.fragment"]\n'
        )
        (self.series / "config.fragment").write_text("CONFIG_A=y\nCONFIG_B=y\n")
        (self.series / "debug.fragment").write_text("CONFIG_B=m\nCONFIG_KASAN=y\n")
        (self.series / "0001-a.patch").write_text(PATCH.format(text=text))

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start ``kvmbpf lab`` with these arguments."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.lab.fake_lab", "lab", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=self._environment() | environment,
        )
        self.started.append(process)
        return process

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run ``kvmbpf lab`` with these arguments to its end."""
        return finish(self.start(*arguments, **environment))

    def _environment(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if "KVMBPF" not in name}
        return own | {
            "PATH": str(self.tools),
            "KVMBPF_CACHE": str(self.cache),
            SERIES_VARIABLE: str(self.series),
            PACKAGES_VARIABLE: str(self.packages),
        }

    def hold(self, phase: str) -> None:
        """Have a tool, or make with a target, wait when it is reached."""
        (self.folder / f"wait-{phase}").touch()

    def let_go(self, phase: str) -> None:
        """Let what waits go on."""
        (self.folder / f"wait-{phase}").unlink()
        (self.folder / "waiting").unlink(missing_ok=True)

    def await_held(self) -> int:
        """Wait until something waits; return its process id."""
        path = self.folder / "waiting"
        eventually(path.exists)
        return int(path.read_text())

    def calls(self, name: str) -> int:
        """Return how often a tool, or make with a target, was called."""
        path = self.folder / "calls"
        return path.read_text().splitlines().count(name) if path.exists() else 0

    def close(self) -> None:
        """End what still runs."""
        for process in self.started:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            finish(process)


def make_tree(folder: Path) -> Path:
    """Write a tiny kernel source tree."""
    (folder / "dir").mkdir(parents=True)
    (folder / "Makefile").write_text("VERSION = 0\nPATCHLEVEL = 0\nSUBLEVEL = 1\n")
    (folder / "Kbuild").write_text("# nothing\n")
    (folder / "dir/one.c").write_text("first\nsecond\nthird\n")
    return folder


def finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """Wait for a process, and return what it said."""
    if process.stdout is None or process.stdout.closed:
        process.wait(30)
        return subprocess.CompletedProcess([], process.returncode, "", "")
    out, err = process.communicate(timeout=30)
    return subprocess.CompletedProcess([], process.returncode, out, err)


def eventually(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Tell whether a process runs: neither gone nor a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


if __name__ == "__main__":
    series.default_series_folder = lambda: Path(os.environ[SERIES_VARIABLE])
    source.PACKAGES = Path(os.environ[PACKAGES_VARIABLE])
    from kvmbpf import cli

    cli.main()
