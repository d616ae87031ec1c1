# SPDX-License-Identifier: GPL-2.0-or-later
"""Compiling the tests' eBPF programs.

Sources are in ``progs/``; a test compiles the one it needs, with the defines
that make a variant of it, into its own temporary directory.
"""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

PROGS = Path(__file__).parent / "progs"


def compile_bpf(source: str, output: Path, *defines: str) -> Path:
    """Compile ``progs/<source>.bpf.c``.

    :param output: the object file to make.
    :param defines: as in ``VERSION=2``.
    :return: `output`.
    """
    multiarch = sysconfig.get_config_var("MULTIARCH")
    command = ["clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Werror"]
    command += [f"-I/usr/include/{multiarch}", *(f"-D{define}" for define in defines)]
    command += ["-c", str(PROGS / f"{source}.bpf.c"), "-o", str(output)]
    subprocess.run(command, check=True)
    return output
