# SPDX-License-Identifier: GPL-2.0-or-later
"""Run make in a kernel tree: log everything, count files, say why it failed."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from kvmbpf.lab.progress import Progress
from kvmbpf.lab.tools import NO_SPACE, tied, tool_error

_COMPILED = re.compile(r"^  (CC|AS|HOSTCC)\b")
_FAILED = re.compile(r"(\berror:|\bundefined reference\b|^FAILED|\*\*\*|: No such file)")
# Nothing of the machine, the time or the user goes into the image; `uname -v`
# shows the key, so that a test can tell which kernel it runs on.
_FIXED = {
    "KBUILD_BUILD_TIMESTAMP": "1970-01-01",
    "KBUILD_BUILD_USER": "kvmbpf",
    "KBUILD_BUILD_HOST": "lab",
    "LC_ALL": "C",
}
_DROPPED = ("ARCH", "CROSS_COMPILE", "KBUILD_OUTPUT", "MAKEFLAGS", "MFLAGS", "O", "CC", "CFLAGS")


def make(
    tree: Path,
    targets: list[str],
    key: str,
    log: Path,
    *,
    lock: int,
    progress: Progress | None = None,
) -> None:
    """Run ``make TARGETS`` in a kernel tree, with as many jobs as there are CPUs.

    :param key: the kernel's key, shown as its build number.
    :param log: the file that the output is appended to.
    :param lock: descriptor (C ``int``) of the build's lock, which make holds too.
    :param progress: told how many files were compiled, when given.
    :raise LabError: when make fails; gives the full disk or the first error line,
        and the log.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _DROPPED}
    environment |= _FIXED | {"KBUILD_BUILD_VERSION": key}
    jobs = len(os.sched_getaffinity(0))
    first_error = ""
    files = 0
    with (
        log.open("a", encoding="utf-8") as out,
        subprocess.Popen(
            tied(["make", f"-j{jobs}", *targets]),
            cwd=tree,
            pass_fds=(lock,),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                out.write(line)
                if _COMPILED.match(line):
                    files += 1
                    if progress is not None:
                        progress.compiled(files)
                elif NO_SPACE in line and NO_SPACE not in first_error:
                    first_error = line.strip()  # whatever else failed, failed of this
                elif not first_error and _FAILED.search(line):
                    first_error = line.strip()
            status = process.wait()
        except BaseException:
            process.terminate()
            raise
    if status != 0:
        reason = first_error or f"make exited with {status}"
        what = f"kernel build (make {' '.join(targets)}) failed"
        raise tool_error(what, f"{reason}; log: {log}", tree)
